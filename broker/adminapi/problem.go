package adminapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker/problem"
)

// problemOf decides what the outside learns of an error of a use case.
func problemOf(err error) *problem.Problem {
	if errors.Is(err, ErrDuration) {
		return problem.New(http.StatusUnprocessableEntity, err.Error())
	}
	return problem.Of(err)
}

// reportProblems is a huma transformer: it turns huma's errors into problems that
// hold no value of the request, and writes the request's id into every problem.
func reportProblems(ctx huma.Context, _ string, v any) (any, error) {
	var p *problem.Problem
	switch e := v.(type) {
	case *huma.ErrorModel:
		p = problem.New(e.Status, e.Detail)
		for _, d := range e.Errors {
			p.Errors = append(p.Errors, problem.Place{Location: d.Location, Message: d.Message})
		}
	case *problem.Problem:
		p = e
	default:
		return v, nil
	}
	p.RequestID = callOf(ctx.Context()).id
	return p, nil
}

// identify names the request, and gives a call to be filled in.
func identify(w http.ResponseWriter, r *http.Request) (*http.Request, *call) {
	c := &call{id: problem.Name(w)}
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c)), c
}
