package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// apiAttempts is how often a question is asked: a user waits for the answer.
const apiAttempts = 4

// leastProgress is what a connection must bring within Stall: less counts as nothing.
const leastProgress = 4 << 10

// persist calls try until it succeeds, fails for good, or has failed too often in a row. try says whether it got
// something done, which starts the count anew.
func (c *Client) persist(ctx context.Context, attempts int, try func() (moved bool, err error)) error {
	for failures := 1; ; failures++ {
		if err := c.held(ctx); err != nil {
			return err
		}
		moved, err := try()
		var p passingError
		if err == nil || !errors.As(err, &p) || ctx.Err() != nil {
			return err
		}
		if moved {
			failures = 1
		}
		switch {
		case p.after > maxWait:
			return final("%w and asks to come back in %v", err, p.after.Round(time.Minute))
		case failures >= attempts:
			return final("%w (%d times in a row)", err, failures)
		}
		if p.after > 0 {
			c.hold(p.after)
		}
		// Full jitter over the upper half: workers that failed together do not come back together.
		wait := min(c.o.Backoff<<min(failures-1, 20), longestBackoff)
		if err := sleep(ctx, wait/2+rand.N(wait/2+1)); err != nil {
			return err
		}
	}
}

// get sends one GET and returns a response of status 200 or 206. Its body fails when it stalls; close it.
// ranges is the value of the Range header, "" for none.
func (c *Client) get(ctx context.Context, repo string, u *url.URL, ranges string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watched{ctx: ctx, cancel: cancel, stall: c.o.Stall, host: u.Host}
	w.timer = time.AfterFunc(c.o.Stall, func() { cancel(errStalled) })
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		w.Close()
		return nil, final("%w", err)
	}
	request.Header.Set("User-Agent", "tritium")
	request.Header.Set("Accept-Encoding", "identity")
	if ranges != "" {
		request.Header.Set("Range", ranges)
	}
	r, err := c.http.Do(request)
	if err != nil {
		err = transportError(ctx, u.Host, err)
		w.Close()
		return nil, err
	}
	w.body, w.host = r.Body, r.Request.URL.Host
	r.Body = w
	if r.StatusCode == http.StatusOK || r.StatusCode == http.StatusPartialContent {
		return r, nil
	}
	err = c.statusError(r, repo)
	io.CopyN(io.Discard, r.Body, 4<<10) // a short answer read to its end leaves the connection usable
	r.Body.Close()
	return nil, err
}

// watched is a response's body that is cut off when it stalls.
type watched struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	host   string
	body   io.ReadCloser
	moved  int // since the timer was set
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.body.Read(b)
	if w.moved += n; w.moved >= leastProgress {
		w.moved = 0
		w.timer.Reset(w.stall)
	}
	if err != nil && err != io.EOF {
		err = transportError(w.ctx, w.host, err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	if w.body == nil {
		return nil
	}
	return w.body.Close()
}

// ask sends a question to the API and decodes its answer, of at most limit bytes.
func (c *Client) ask(ctx context.Context, repo string, u *url.URL, limit int64, answer any) (http.Header, error) {
	var header http.Header
	err := c.persist(ctx, apiAttempts, func() (bool, error) {
		r, err := c.get(ctx, repo, u, "")
		if err != nil {
			return false, err
		}
		defer r.Body.Close()
		if err := webPage(r); err != nil {
			return false, err
		}
		data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return false, err
		}
		if int64(len(data)) > limit {
			return false, final("%s answers with more than %d MB where a list belongs", u.Host, limit>>20)
		}
		if err := json.Unmarshal(data, answer); err != nil {
			return false, final("%s answers with what is no answer of the Hub's (%w); check HF_ENDPOINT", u.Host, err)
		}
		header = r.Header
		return true, nil
	})
	return header, err
}

// wrap says what an error is about.
func wrap(err error, repo string, more ...string) error {
	if err == nil {
		return nil
	}
	for _, m := range more {
		if m != "" {
			repo += ": " + m
		}
	}
	return fmt.Errorf("hub: %s: %w", repo, err)
}
