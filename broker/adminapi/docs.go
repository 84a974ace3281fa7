package adminapi

import (
	"bytes"
	"cmp"
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
	Method, Path, ID, Summary, Tag string
	Params, Fields                 []docsField
	Answers                        []docsAnswer
	Problems                       []string // statuses
}

// A docsField is one parameter, or one member of a body.
type docsField struct {
	Name, Type, About string
	Required          bool
}

// A docsAnswer is an answer of a route, with its body's members.
type docsAnswer struct {
	Status, About string
	Fields        []docsField
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
			for _, p := range op.Parameters {
				if p.In != "path" {
					r.Params = append(r.Params, docsField{Name: p.Name, Type: typeOf(spec, p.Schema), About: cmp.Or(p.Description, p.Schema.Description), Required: p.Required})
				}
			}
			if op.RequestBody != nil {
				r.Fields = members(spec, op.RequestBody.Content["application/json"].Schema, false)
			}
			for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
				switch a := (docsAnswer{Status: status, About: op.Responses[status].Description}); {
				case status == "default" || status >= "400":
					r.Problems = append(r.Problems, strings.Replace(status, "default", "others", 1))
				default:
					if body := op.Responses[status].Content["application/json"]; body != nil {
						a.Fields = members(spec, body.Schema, true)
					}
					r.Answers = append(r.Answers, a)
				}
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

// members gives the members of a body; the ones that only answers have if answer is true.
func members(spec *huma.OpenAPI, schema *huma.Schema, answer bool) (out []docsField) {
	if schema.Ref != "" {
		schema = spec.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if schema == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if p := schema.Properties[name]; answer || !p.ReadOnly {
			out = append(out, docsField{Name: name, Type: typeOf(spec, p), About: p.Description, Required: !answer && slices.Contains(schema.Required, name)})
		}
	}
	return out
}

// typeOf names a schema's type: that of its items, too, if it is a list.
func typeOf(spec *huma.OpenAPI, s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		return "list of " + typeOf(spec, s.Items)
	}
	return s.Type
}

// finish completes the document, once all routes are in it: what a request is refused by
// is decided, so that what follows is for readers only.
func finish(spec *huma.OpenAPI) {
	spec.Servers = []*huma.Server{{URL: "/", Description: "The broker that this document came from"}}
	spec.Info.License = &huma.License{Name: "Apache 2.0", Identifier: "Apache-2.0"}
	seen := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(spec.Paths)) {
		for _, op := range operations(spec.Paths[path]) {
			if tag := op.Tags[0]; !seen[tag] {
				seen[tag] = true
				spec.Tags = append(spec.Tags, &huma.Tag{Name: tag})
			}
			for _, p := range op.Parameters {
				sayPattern(p.Schema)
			}
			if op.RequestBody != nil {
				for _, body := range op.RequestBody.Content {
					sayPattern(body.Schema)
				}
			}
		}
	}
	for _, s := range spec.Components.Schemas.Map() {
		sayPattern(s)
	}
}

// sayPattern moves what patterns mean into descriptions: OpenAPI has no other place for it.
func sayPattern(s *huma.Schema) {
	if s == nil {
		return
	}
	if said := s.PatternDescription; said != "" {
		s.PatternDescription = ""
		s.Description = strings.TrimPrefix(s.Description+": "+said, ": ")
	}
	sayPattern(s.Items)
	for _, p := range s.Properties {
		sayPattern(p)
	}
}
