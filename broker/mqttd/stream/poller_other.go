//go:build !linux

package stream

// polling is nothing here: goroutines read.
type polling struct{}

type poller struct{}

func (*Loop) poll(*Stream) *poller { return nil }

func (*Loop) stopPolling() {}

func (*poller) close(*Stream) {}

func (*poller) half(*Stream) error { return nil }

func (*Stream) turns() {}
