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

// List reads all settings of the kind in the pool, ordered by name.
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

// Get reads a setting. Its ETag is what Replace and Change take to be sure that nobody
// has changed the setting since.
func (s Settings) Get(ctx context.Context, name string) (form any, etag string, err error) {
	form = s.noun.New()
	etag, err = s.c.exchange(ctx, http.MethodGet, s.path+join(name), "", nil, form)
	return form, etag, err
}

// Create makes a setting and gives it as it was stored.
func (s Settings) Create(ctx context.Context, form any) (any, error) {
	out := s.noun.New()
	return out, s.c.do(ctx, http.MethodPost, s.path, form, out)
}

// Replace replaces a whole setting if its revision is still etag; with an empty etag
// whatever its revision.
func (s Settings) Replace(ctx context.Context, name string, form any, etag string) (any, error) {
	return s.write(ctx, http.MethodPut, name, form, etag)
}

// Change changes some members of a setting; form is what the Noun's Change makes. etag is as
// in Replace.
func (s Settings) Change(ctx context.Context, name string, form any, etag string) (any, error) {
	return s.write(ctx, http.MethodPatch, name, form, etag)
}

func (s Settings) write(ctx context.Context, method, name string, form any, etag string) (any, error) {
	out := s.noun.New()
	_, err := s.c.exchange(ctx, method, s.path+join(name), etag, form, out)
	return out, err
}

// Delete deletes a setting, whatever its revision; with force, which only a Noun that is
// Forced takes, even one that is in use.
func (s Settings) Delete(ctx context.Context, name string, force bool) error {
	return s.c.remove(ctx, s.path+join(name), force)
}

// Names gives the first names that begin with prefix, in order, for completion: at most a page.
func (s Settings) Names(ctx context.Context, prefix string) ([]string, error) {
	return names(ctx, s.c, s.path, s.noun.Key, prefix)
}

// DeviceNames gives the first names of devices that begin with prefix, in order: at most a page.
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

// Apply sends a request that says what settings are to be, and gives what had to change
// for that. Nouns tell what may be in a request.
func (c *Client) Apply(ctx context.Context, request json.RawMessage) (Applied, error) {
	return send[Applied](ctx, c, http.MethodPost, "/apply", request)
}
