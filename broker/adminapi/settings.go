package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Settings speaks the operators' API about the settings of one kind in one pool. The
// forms that it takes and gives are pointers such as the Noun's New makes.
type Settings struct {
	c    *Client
	path string
	noun Noun
}

// Of gives access to the settings of a kind.
func (p PoolClient) Of(n Noun) Settings { return Settings{p.c, p.path + join(n.Path), n} }

// List reads all of them, by name.
func (s Settings) List(ctx context.Context) ([]any, error) {
	raw, err := all[json.RawMessage](ctx, s.c, s.path)
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(raw))
	for _, r := range raw {
		form := s.noun.New()
		if err := json.Unmarshal(r, form); err != nil {
			return nil, err
		}
		out = append(out, form)
	}
	return out, nil
}

// Get reads one, with its revision for If-Match.
func (s Settings) Get(ctx context.Context, name string) (form any, etag string, err error) {
	form = s.noun.New()
	etag, err = s.c.exchange(ctx, http.MethodGet, s.path+join(name), "", nil, form)
	return form, etag, err
}

// Create makes one.
func (s Settings) Create(ctx context.Context, form any) (any, error) {
	out := s.noun.New()
	return out, s.c.do(ctx, http.MethodPost, s.path, form, out)
}

// Replace replaces one of the given revision; of any, if that is empty.
func (s Settings) Replace(ctx context.Context, name string, form any, etag string) (any, error) {
	return s.write(ctx, http.MethodPut, name, form, etag)
}

// Change changes one in the form of the Noun's Change.
func (s Settings) Change(ctx context.Context, name string, form any, etag string) (any, error) {
	return s.write(ctx, http.MethodPatch, name, form, etag)
}

func (s Settings) write(ctx context.Context, method, name string, form any, etag string) (any, error) {
	out := s.noun.New()
	_, err := s.c.exchange(ctx, method, s.path+join(name), etag, form, out)
	return out, err
}

// Delete deletes one.
func (s Settings) Delete(ctx context.Context, name string) error {
	return s.c.do(ctx, http.MethodDelete, s.path+join(name), nil, nil)
}

// Names gives some names that begin with prefix, in order: a page at most.
func (s Settings) Names(ctx context.Context, prefix string) ([]string, error) {
	return names(ctx, s.c, s.path, s.noun.Key, prefix)
}

// DeviceNames gives some devices' names that begin with prefix, in order: a page at most.
func (p PoolClient) DeviceNames(ctx context.Context, prefix string) ([]string, error) {
	return names(ctx, p.c, p.path+"/devices", "name", prefix)
}

func names(ctx context.Context, c *Client, path, key, prefix string) ([]string, error) {
	query := "?limit=100"
	if prefix != "" { // what sorts right before it, and all that begin with it come after
		last := len(prefix) - 1
		query += "&after=" + url.QueryEscape(prefix[:last]+string(prefix[last]-1)+"~")
	}
	some, err := get[Page[map[string]any]](ctx, c, path+query)
	var out []string
	for _, item := range some.Items {
		if name, ok := item[key].(string); ok && strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	return out, err
}

// Apply makes settings what a request says; Nouns tell what may be in one.
func (c *Client) Apply(ctx context.Context, request json.RawMessage) (Applied, error) {
	return send[Applied](ctx, c, http.MethodPost, "/apply", request)
}
