package adminapi

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker/problem"
)

// CheckApply gives what is wrong with a request to apply by itself.
func CheckApply(raw []byte) []problem.Place {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	kinds := map[string]applied{}
	for _, r := range resources() {
		kinds[r.noun().Plural] = r.applied(registry)
	}
	req, err := (&service{}).readApply(registry, kinds, raw)
	if err != nil {
		return []problem.Place{{Message: err.Error()}}
	}
	return req.broken
}
