// Package topictest has topics for tests, which know that theirs are good: functions that
// parse one end the test if it is not. Others make them at random, of few levels, so that
// they often match.
package topictest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/topic"
)

// Name parses a topic name.
func Name(t testing.TB, s string) topic.Name {
	t.Helper()
	return must(t, s, topic.ParseName)
}

// Filter parses a topic filter.
func Filter(t testing.TB, s string) topic.Filter {
	t.Helper()
	return must(t, s, topic.ParseFilter)
}

// Subscription parses a subscription, which may be a shared one.
func Subscription(t testing.TB, s string) topic.Subscription {
	t.Helper()
	return must(t, s, topic.ParseSubscription)
}

func must[T any](t testing.TB, s string, parse func(string) (T, error)) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// AnyName gives a name of one to five levels: few different ones, empty ones, of other
// characters than letters, and some that begin with '$'.
func AnyName(r *rand.Rand) string {
	levels := []string{"a", "b", "", "$s", "a b", "é"}
	n := make([]string, 1+r.IntN(5))
	for i := range n {
		n[i] = levels[r.IntN(len(levels))]
	}
	if len(n) == 1 && n[0] == "" {
		return "a"
	}
	return strings.Join(n, "/")
}

// AnyFilter gives a filter such as AnyName's names, with wildcards.
func AnyFilter(r *rand.Rand) string {
	n := strings.Split(AnyName(r), "/")
	for i := range n {
		if r.IntN(3) == 0 {
			n[i] = "+"
		}
	}
	if r.IntN(3) == 0 {
		n[len(n)-1] = "#"
	}
	return strings.Join(n, "/")
}
