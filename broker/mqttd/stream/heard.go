package stream

import "time"

// Heard is when something came of the client last, since Serve; before, it is the Loop's beginning.
func (s *Stream) Heard() time.Time { return s.loop.epoch.Add(time.Duration(s.read.Load())) }
