package verify

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/signetd/signet/protocol/token"
)

type contextKey struct{}

// FromContext gives the claims that Middleware put there, or false.
func FromContext(ctx context.Context) (*token.Claims, bool) {
	claims, ok := ctx.Value(contextKey{}).(*token.Claims)
	return claims, ok
}

// Middleware lets requests through that bear an acceptable access token in the
// Authorization header (RFC 6750, 2.1) and puts its claims into their context.
// Others are answered with 400, 401 or, if no key could be had to judge them, 503.
// The answer names the kind of error (3.1) and nothing about the token.
//
// A bearer token is believed whoever sends it; a handler that can, compares
// Claims.Confirmation with the key that the sender has proved.
func Middleware(v *Verifier) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, present, ok := bearer(r)
			switch {
			case !present:
				refuse(w, http.StatusUnauthorized, "")
				return
			case !ok:
				refuse(w, http.StatusBadRequest, "invalid_request")
				return
			}
			claims, err := v.Verify(r.Context(), []byte(raw))
			if err != nil {
				refuseToken(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, claims)))
		})
	}
}

// bearer takes the token from the one Authorization header. It is not present if
// there is none or one of another scheme, and not ok if it is not to be read.
func bearer(r *http.Request) (raw string, present, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", false, false
	}
	if len(values) > 1 {
		return "", true, false
	}
	scheme, raw, found := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false, false
	}
	return raw, true, found && raw != "" && !strings.ContainsAny(raw, " \t,")
}

// refuseToken tells what is wrong with the token from what is wrong on our side.
func refuseToken(w http.ResponseWriter, err error) {
	for _, fault := range []error{ErrMalformed, ErrHeader, ErrType, ErrAlgorithm, ErrSignature, ErrUnknownKey, ErrClaims, ErrExpired, ErrNotYetValid, ErrAudience, ErrIssuer} {
		if errors.Is(err, fault) {
			refuse(w, http.StatusUnauthorized, "invalid_token")
			return
		}
	}
	w.Header().Set("Retry-After", "5")
	http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
}

func refuse(w http.ResponseWriter, status int, code string) {
	challenge := "Bearer"
	if code != "" {
		challenge += ` error="` + code + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}
