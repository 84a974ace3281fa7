package main

import (
	"math"
	"testing"
)

func TestNoBallastUnderALimit(t *testing.T) {
	for limit, want := range map[int64]int{math.MaxInt64: 32 << 20, math.MaxInt64 - 1: 0, 64 << 20: 0, 0: 0} {
		if got := len(ballast(limit)); got != want {
			t.Errorf("limit %d: %d bytes, want %d", limit, got, want)
		}
	}
}
