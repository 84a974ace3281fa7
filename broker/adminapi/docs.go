package adminapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/signetd/signet/broker/problem"
)

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// A docsRoute is one route as the page shows it.
type docsRoute struct {
	Method, Path, ID, Summary, Tag, Body string
	Fields                               []docsField
}

// A docsField is one field of a request's body.
type docsField struct {
	Name, Type, About string
	Required          bool
}

// newPage renders the description once. The page has no script and loads nothing.
func newPage(spec *huma.OpenAPI) (http.Handler, error) {
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var problems []map[string]any
	for _, k := range problem.Kinds() {
		problems = append(problems, map[string]any{"Name": k.Name, "Status": k.Status, "About": k.About})
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Info": spec.Info, "Routes": docsRoutes(spec), "Problems": problems, "Style": template.CSS(docsStyle), "Spec": specPath,
	})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(docsStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(out.Bytes())
	}), nil
}

func docsRoutes(spec *huma.OpenAPI) []docsRoute {
	var out []docsRoute
	for _, path := range slices.Sorted(maps.Keys(spec.Paths)) {
		for _, op := range operations(spec.Paths[path]) {
			r := docsRoute{Method: op.Method, Path: path, ID: op.OperationID, Summary: op.Summary, Tag: op.Tags[0]}
			if op.RequestBody != nil {
				r.body(spec, op.RequestBody.Content["application/json"].Schema)
			}
			out = append(out, r)
		}
	}
	return out
}

// operations gives the operations of a path in a fixed order.
func operations(item *huma.PathItem) []*huma.Operation {
	var out []*huma.Operation
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op != nil {
			out = append(out, op)
		}
	}
	return out
}

// body describes the request's body.
func (r *docsRoute) body(spec *huma.OpenAPI, schema *huma.Schema) {
	r.Body = schema.Ref[strings.LastIndexByte(schema.Ref, '/')+1:]
	resolved := spec.Components.Schemas.SchemaFromRef(schema.Ref)
	if resolved == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(resolved.Properties)) {
		p := resolved.Properties[name]
		if p.ReadOnly {
			continue
		}
		r.Fields = append(r.Fields, docsField{
			Name: name, Type: p.Type, About: p.Description, Required: slices.Contains(resolved.Required, name),
		})
	}
}
