package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// finalError is a failure that trying again does not help.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func final(format string, args ...any) error { return finalError{fmt.Errorf(format, args...)} }

// passingError is a failure that may pass.
type passingError struct {
	error
	after time.Duration // what the server asks to wait; 0: nothing
	moved bool          // a redirect led to it, which may have expired
}

func (e passingError) Unwrap() error { return e.error }

func passing(format string, args ...any) error {
	return passingError{error: fmt.Errorf(format, args...)}
}

// errStalled is the cause with which a connection that brings nothing is cut.
var errStalled = errors.New("stalled")

// maxWait is the longest that a server may ask to wait.
const maxWait = 5 * time.Minute

// longestBackoff bounds the doubling of waits.
const longestBackoff = 30 * time.Second

// statusError says what an answer that is not the wanted one means, and what to do.
func (c *Client) statusError(r *http.Response, repo string) error {
	host := r.Request.URL.Host
	code := r.Header.Get("X-Error-Code")
	switch s := r.StatusCode; {
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s == http.StatusTooEarly || s >= 500:
		return passingError{error: fmt.Errorf("%s answers %s", host, status(r)), after: retryAfter(r.Header.Get("Retry-After"))}
	case host != c.endpoint.Host:
		return passingError{error: fmt.Errorf("%s, where %s sends downloads, answers %s", host, c.endpoint.Host, status(r)), moved: true}
	case code == "GatedRepo" || s == http.StatusForbidden && c.o.Token != "":
		return final("access is refused: open %s in a browser and accept its terms, then set HF_TOKEN to a token of that account that may read it", c.url(repo))
	case code == "RevisionNotFound":
		return final("there is no such revision; %s lists them", c.url(repo, "tree/main"))
	case code == "EntryNotFound":
		return final("there is no such file; %s lists them", c.url(repo, "tree/main"))
	case s == http.StatusUnauthorized && c.o.Token != "":
		return final("%s refuses the token: check HF_TOKEN, and the name of the repository", host)
	case s == http.StatusUnauthorized || s == http.StatusForbidden || s == http.StatusNotFound:
		return final("%s has no such repository or revision, or it is private: check the name; a private one needs HF_TOKEN", host)
	}
	return final("%s answers %s", host, status(r))
}

// status is a status line without what a server may have put in its place.
func status(r *http.Response) string {
	return strings.TrimSpace(strconv.Itoa(r.StatusCode) + " " + http.StatusText(r.StatusCode))
}

// retryAfter reads the header, in seconds or as a date.
func retryAfter(s string) time.Duration {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return max(0, time.Duration(n)*time.Second)
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// webPage refuses an answer that is a page for people: that of a login, a filter, a portal.
func webPage(r *http.Response) error {
	if t := r.Header.Get("Content-Type"); strings.HasPrefix(t, "text/html") || strings.HasPrefix(t, "application/xhtml") {
		return final("%s answers with a web page where a file belongs, as a login or a filter does: open https://%s in a browser, or set HTTPS_PROXY or HF_ENDPOINT",
			r.Request.URL.Host, r.Request.URL.Host)
	}
	return nil
}

// transportError turns what the network said into one line: without the address, which may carry a signature.
func transportError(ctx context.Context, host string, err error) error {
	if context.Cause(ctx) == errStalled {
		return passing("%s stopped sending", host)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var f finalError
	if errors.As(err, &f) {
		return f
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return final("the certificate of %s is not trusted (%v); if a proxy is in the way, install its certificate", host, e.Err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return passing("the connection to %s was cut", host)
	}
	return passing("cannot reach %s (%w); check the network, or set HTTPS_PROXY", host, err)
}
