package problem

import (
	"net/http"

	"github.com/signetd/signet/protocol/exit"
)

// Exit is what a program exits with that was answered so.
func (p *Problem) Exit() exit.Code {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exit.Refused
	case http.StatusNotFound:
		return exit.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exit.Conflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exit.Unavailable
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return exit.Usage
	}
	return exit.Failed
}
