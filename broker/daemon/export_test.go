package daemon

import "time"

// SetHTTPTimeout sets how long a request may take to come.
func (c *Config) SetHTTPTimeout(d time.Duration) { c.httpTimeout = d }
