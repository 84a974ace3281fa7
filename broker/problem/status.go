package problem

import "net/http"

// A StatusWriter remembers the status of an answer.
type StatusWriter struct {
	http.ResponseWriter
	Status int // 0: none is on its way; one below 200 is not the answer's
}

// WriteHeader implements http.ResponseWriter.
func (s *StatusWriter) WriteHeader(status int) {
	if s.Status == 0 && status >= 200 {
		s.Status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *StatusWriter) Write(b []byte) (int, error) {
	if s.Status == 0 {
		s.Status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (s *StatusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
