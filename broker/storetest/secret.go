package storetest

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/signetd/signet/broker"
)

func secretTests() []test {
	return []test{
		{"made once", func(e *env) {
			made := 0
			create := func() ([]byte, error) { made++; return []byte{byte(made)}, nil }
			for range 3 {
				got, err := e.secrets.SecretOnce(e.ctx, by(), "cluster", create)
				e.ok(err)
				e.same([]byte{1}, got)
			}
			other, err := e.secrets.SecretOnce(e.ctx, by(), "other", create)
			e.ok(err)
			e.same([]byte{2}, other)
		}},
		{"a name is a label", func(e *env) {
			for _, name := range []string{"", "Session", "a b", strings.Repeat("x", broker.MaxLabel+1)} {
				_, err := e.secrets.SecretOnce(e.ctx, by(), name, func() ([]byte, error) { return []byte("x"), nil })
				e.wants(broker.ErrInvalid, err)
			}
		}},
		{"a failure leaves none", func(e *env) {
			_, err := e.secrets.SecretOnce(e.ctx, by(), "cluster", func() ([]byte, error) { return nil, errStop })
			e.wants(errStop, err)
			got, err := e.secrets.SecretOnce(e.ctx, by(), "cluster", func() ([]byte, error) { return []byte("x"), nil })
			e.ok(err)
			e.same([]byte("x"), got)
		}},
		{"made once, by one of many", func(e *env) {
			var made atomic.Int32
			var got sync.Map
			e.tally(e.together(50, func(i int, h *handle) error {
				b, err := h.secrets.SecretOnce(e.ctx, by(), "s", func() ([]byte, error) { made.Add(1); return []byte{byte(i)}, nil })
				got.Store(string(b), true)
				return err
			}), nil)
			n := 0
			got.Range(func(any, any) bool { n++; return true })
			e.same(1, n)
			e.same(int32(1), made.Load())
		}},
	}
}
