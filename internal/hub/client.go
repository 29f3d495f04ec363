package hub

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// DefaultEndpoint is the Hub itself.
const DefaultEndpoint = "https://huggingface.co"

// Options say how to reach the Hub. The zero value of each but Endpoint is a sensible choice.
type Options struct {
	Endpoint string                                // scheme and host, DefaultEndpoint or a mirror's
	Token    string                                // goes to Endpoint's origin alone; "" is anonymous
	Proxy    func(*http.Request) (*url.URL, error) // nil: none

	Workers  int           // connections at a time; 0 is 8
	Range    int64         // bytes of a range; 0 is 16 MiB
	Stall    time.Duration // a connection that brings nothing for so long is cut; 0 is 30 s
	Attempts int           // failures in a row, without bytes between them, after which to give up; 0 is 8
	Backoff  time.Duration // before the second attempt, doubled for each further one; 0 is 500 ms
}

// Client fetches from one endpoint. It is safe for concurrent use.
type Client struct {
	o        Options
	endpoint *url.URL
	http     *http.Client

	mu    sync.Mutex
	quiet time.Time // no request before: the server said so
}

// New returns a client.
//
// Errors: an endpoint that is no http or https origin; a token that would travel unencrypted, or is none.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("hub: endpoint %.200q is not like %s", o.Endpoint, DefaultEndpoint)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("hub: the token holds a space or another character that no token has; copy it again")
	}
	if o.Token != "" && u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("hub: the token would go to %s unencrypted; use https, or no token", u.Host)
	}
	o.Workers, o.Range = cmp.Or(o.Workers, 8), cmp.Or(o.Range, 16<<20)
	o.Stall, o.Attempts, o.Backoff = cmp.Or(o.Stall, 30*time.Second), cmp.Or(o.Attempts, 8), cmp.Or(o.Backoff, 500*time.Millisecond)
	c := &Client{o: o, endpoint: u}
	c.http = &http.Client{
		Transport: authorized{c, &http.Transport{
			Proxy:       o.Proxy,
			DialContext: (&net.Dialer{Timeout: o.Stall, KeepAlive: 15 * time.Second}).DialContext,
			// HTTP/1.1: with HTTP/2 all workers would share one connection, and its pace.
			Protocols:           http1(),
			TLSHandshakeTimeout: o.Stall,
			MaxIdleConnsPerHost: o.Workers,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true, // lengths are those of the file
			// A header is small; this bounds what a hostile one costs.
			MaxResponseHeaderBytes: 64 << 10,
		}},
		CheckRedirect: checkRedirect,
	}
	return c, nil
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Host names the endpoint in messages.
func (c *Client) Host() string { return c.endpoint.Host }

// authorized adds the token to requests for the endpoint's own origin. It sits below the http.Client, so a redirected
// request has not inherited what it must not have.
type authorized struct {
	c    *Client
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if e := a.c.endpoint; a.c.o.Token != "" && r.URL.Scheme == e.Scheme && r.URL.Host == e.Host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.c.o.Token)
	}
	return a.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach those of the transport.
func (a authorized) CloseIdleConnections() { a.next.(*http.Transport).CloseIdleConnections() }

func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return final("%s redirects in circles", via[0].URL.Host)
	case r.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https":
		return final("%s redirects to an unencrypted address at %s; refused", via[len(via)-1].URL.Host, r.URL.Host)
	}
	return nil
}

// url returns an address at the endpoint. Segments are escaped; one may hold slashes, which stay.
func (c *Client) url(segments ...string) *url.URL {
	u := *c.endpoint
	u.Path += "/" + strings.Join(segments, "/")
	return &u
}

// hold keeps all requests back for a while.
func (c *Client) hold(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(c.quiet) {
		c.quiet = until
	}
}

// held waits until requests may be sent.
func (c *Client) held(ctx context.Context) error {
	c.mu.Lock()
	d := time.Until(c.quiet)
	c.mu.Unlock()
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
