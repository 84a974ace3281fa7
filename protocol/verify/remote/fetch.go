package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/reach"
	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/verify"
)

// maxDocument bounds each of the two documents, in bytes.
const maxDocument = strictjson.MaxSize

// fetch reads the discovery document and the keys it points to.
func (s *Source) fetch(ctx context.Context) (*verify.KeySet, time.Duration, error) {
	doc, _, err := s.get(ctx, strings.TrimSuffix(s.config.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, 0, err
	}
	jwksURL, err := s.readDiscovery(doc)
	if err != nil {
		return nil, 0, fmt.Errorf("discovery document of %s: %w", s.config.Issuer, err)
	}
	doc, header, err := s.get(ctx, jwksURL)
	if err != nil {
		return nil, 0, err
	}
	keys, err := verify.ParseJWKS(doc)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", jwksURL, err)
	}
	if len(keys.Keys()) == 0 {
		return nil, 0, fmt.Errorf("%s: no key that can verify tokens", jwksURL)
	}
	return keys, s.lifetime(header), nil
}

// readDiscovery takes jwks_uri from the document, which must be that of our issuer
// (RFC 8414, 3.3).
func (s *Source) readDiscovery(doc []byte) (string, error) {
	members, err := strictjson.Object(doc)
	if err != nil {
		return "", err
	}
	var issuer, jwksURL string
	for _, m := range members {
		switch m.Name {
		case "issuer":
			issuer, err = m.Value.Text()
		case "jwks_uri":
			jwksURL, err = m.Value.Text()
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	if issuer != s.config.Issuer {
		return "", fmt.Errorf("it is that of %q", issuer)
	}
	if err := checkURL(jwksURL); err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	return jwksURL, nil
}

func (s *Source) get(ctx context.Context, address string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", address, err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", address, reach.Explain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("get %s: %s", address, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", address, err)
	}
	if len(body) > maxDocument {
		return nil, nil, fmt.Errorf("get %s: more than %d bytes", address, maxDocument)
	}
	return body, resp.Header, nil
}

// lifetime is what Cache-Control says (RFC 9111, 5.2.2), within bounds.
func (s *Source) lifetime(header http.Header) time.Duration {
	life := s.config.Lifetime
	for _, directive := range strings.Split(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minLifetime
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil {
				life = time.Duration(seconds) * time.Second
			}
		}
	}
	return min(max(life, minLifetime), maxLifetime)
}
