package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/reach"
)

// Bounds on what a Client waits for and reads.
const (
	clientTimeout = 30 * time.Second
	maxAnswer     = 16 << 20 // bytes
)

// A Client speaks the operators' API. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	// reason is sent with each request, for the audit trail; may be empty.
	reason string
	http   *http.Client
}

// NewClient makes a Client of the broker at server, such as
// https://signet.example:8443, with an operator's token. The transport carries
// trust in the broker's certificate; nil is the default one. A server without
// https is refused, because the token would travel in the open.
func NewClient(server, token string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("server %q is not a URL such as https://signet.example:8443", server)
	}
	return &Client{
		base: strings.TrimRight(server, "/"), token: token,
		http: &http.Client{
			Transport: transport, Timeout: clientTimeout,
			// A redirect would carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Because gives a Client that says why it does what it does: one line of printable
// text, at most 256 bytes, which the audit trail keeps.
func (c *Client) Because(reason string) *Client {
	out := *c
	out.reason = reason
	return &out
}

// localBase stands in requests that take no network.
const localBase = "http://signetd"

// NewLocalClient makes a Client of the broker that transport reaches on this machine,
// which knows by itself who asks: it needs no token.
func NewLocalClient(transport http.RoundTripper) *Client {
	return &Client{base: localBase, http: &http.Client{Transport: transport, Timeout: clientTimeout}}
}

// do sends in, if any, and reads the answer into out, if any. An error answer is a *problem.Problem.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	_, err := c.exchange(ctx, method, path, "", in, out)
	return err
}

// exchange is do with revisions: match is sent as If-Match unless it is empty, and the
// ETag of the answer is given.
func (c *Client) exchange(ctx context.Context, method, path, match string, in, out any) (etag string, err error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return "", fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return "", err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if match != "" {
		req.Header.Set("If-Match", match)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", c.notReached(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return "", errors.New("answer is above 16 MiB")
	}
	return res.Header.Get("ETag"), decode(res, raw, out)
}

// notReached says why there is no answer.
func (c *Client) notReached(err error) error {
	name := c.base
	if name == localBase {
		name = "signetd on this machine"
	}
	return fmt.Errorf("%s is not reached: %w", name, reach.Explain(err))
}

// request makes a request of the API.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("Accept", "application/json")
	if c.reason != "" {
		req.Header.Set(reasonHeader, c.reason)
	}
	return req, nil
}

// follow asks for an answer that comes bit by bit, for as long as ctx lasts. An error answer is a *problem.Problem.
func (c *Client) follow(ctx context.Context, method, path string) (body io.ReadCloser, err error) {
	req, err := c.request(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", ndjson+", application/json")
	patient := *c.http
	patient.Timeout = 0
	res, err := patient.Do(req)
	if err != nil {
		return nil, c.notReached(err)
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode == http.StatusOK && media == ndjson {
		return res.Body, nil
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if err := decode(res, raw, &struct{}{}); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s answered at once: is it a Signet broker?", res.Request.URL.Host)
}

func decode(res *http.Response, raw []byte, out any) error {
	if res.StatusCode >= 300 {
		if p := problem.Parse(res.StatusCode, res.Header.Get("Content-Type"), raw); p != nil {
			return p
		}
		return fmt.Errorf("%s answered %s and no problem document: is it a Signet broker?", res.Request.URL.Host, res.Status)
	}
	if out == nil {
		return nil
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // "" is no JSON either
	if media != "application/json" {
		return fmt.Errorf("%s answered with %q, not JSON: is it a Signet broker?", res.Request.URL.Host, media)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// remove deletes what is at path, with force even if it is in use.
func (c *Client) remove(ctx context.Context, path string, force bool) error {
	return c.do(ctx, http.MethodDelete, forced(path, force), nil, nil)
}

// forced is a path with its query.
func forced(path string, force bool) string {
	if force {
		return path + "?force=true"
	}
	return path
}

// join makes a path of escaped parts.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// get reads one thing.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	err := c.do(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// send sends one thing and reads another.
func send[T any](ctx context.Context, c *Client, method, path string, in any) (T, error) {
	var out T
	err := c.do(ctx, method, path, in, &out)
	return out, err
}

const maxPage = 500 // items

// all reads a list to its end.
func all[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	out := []T{}
	err := pages(ctx, c, path, func(some []T) { out = append(out, some...) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// pages reads a list page by page.
func pages[T any](ctx context.Context, c *Client, path string, visit func([]T)) error {
	for after := ""; ; {
		query := "?limit=" + strconv.Itoa(maxPage)
		if after != "" {
			query += "&after=" + url.QueryEscape(after)
		}
		p, err := get[Page[T]](ctx, c, path+query)
		if err != nil {
			return err
		}
		visit(p.Items)
		if p.Next == "" {
			return nil
		}
		if p.Next <= after {
			return fmt.Errorf("list %s does not go on after %q", path, after)
		}
		after = p.Next
	}
}
