//go:build !linux

package stream

// polling is nothing here: goroutines read.
type polling struct{}

type poller struct{}

func (*Loop) poll(*Stream) *poller { return nil }

func (*Loop) stopPolling() {}

func (*poller) forget(*Stream) {}

func (*Stream) turns() {}
