package broker

import "time"

// ClocksApart is how far clocks that deal with one another may be apart: those of
// replicas and of devices. A time from further ahead was written by a clock that was
// wrong. Chosen so that it is above what the sealed sessions of an exchange allow.
const ClocksApart = 8 * time.Minute
