package adminapi

import (
	"net/http"
	"time"

	"github.com/signetd/signet/broker/problem"
)

// Each resource has a file of its own: its bodies, the same for Handler and Client,
// its routes, and the Client's methods. Fields are only added; one that is not
// understood is refused in requests and passed over in answers.

// A Page is a part of a list. Next, if set, is the after of the next page.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Give it as after to get the next page; absent on the last"`
}

// optional gives nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// span gives a length of time that is there, be it zero.
func span(d time.Duration) *Duration {
	out := Duration(d)
	return &out
}

// given gives a length of time that may be absent, which is 0. Zero itself is
// refused, because inwards it would mean the default.
func given(where string, d *Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if *d == 0 {
		p := problem.New(http.StatusUnprocessableEntity, problem.Invalid)
		p.Errors = []problem.Place{{Location: "body." + where, Message: "is 0s; leave it out for the default"}}
		return 0, p
	}
	return time.Duration(*d), nil
}
