package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"

	"github.com/signetd/signet/broker/spelling"
	"github.com/signetd/signet/broker/strictyaml"
	"github.com/signetd/signet/protocol/environ"
)

const envPrefix = "SIGNET_"

// A setting is one key of the configuration.
type setting struct {
	key      string // with its sections: "listen.mqtt"
	variable string // SIGNET_LISTEN_MQTT
	field    string // Go's name
}

// settings reads all keys off Config's tags.
func settings() []setting { return settingsOf(reflect.TypeFor[Config](), "", envPrefix) }

func settingsOf(t reflect.Type, section, prefix string) []setting {
	var all []setting
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "-" || !f.IsExported() {
			continue
		}
		if inner := f.Tag.Get("envPrefix"); inner != "" {
			all = append(all, settingsOf(f.Type, key+".", prefix+inner)...)
			continue
		}
		all = append(all, setting{section + key, prefix + f.Tag.Get("env"), f.Name})
	}
	return all
}

// parse lays a YAML document over c, as much of it as is understood.
func parse(raw []byte, c *Config) (wrong []error) {
	doc, err := strictyaml.Read(raw)
	var all strictyaml.Errors
	if errors.As(err, &all) {
		for _, e := range all {
			wrong = append(wrong, e)
		}
		return wrong
	}
	if !doc.Mapping {
		return []error{fmt.Errorf("%s: want keys and values, such as data: /var/lib/signet", doc.Place)}
	}
	return lay(doc.Members, "", reflect.ValueOf(c).Elem())
}

// lay lays the members of a section ("listen.", or nothing for the whole) over to.
func lay(members []strictyaml.Member, section string, to reflect.Value) (wrong []error) {
	for _, m := range members {
		i := slices.IndexFunc(reflect.VisibleFields(to.Type()), func(f reflect.StructField) bool {
			return f.IsExported() && f.Tag.Get("yaml") == m.Name && m.Name != "-"
		})
		if i < 0 {
			wrong = append(wrong, fmt.Errorf("%s: %s", m.Place, unknownKey(section, m.Name)))
			continue
		}
		field := to.Field(i)
		switch nothing := !m.Value.Mapping && !m.Value.List && m.Value.Scalar == nil; {
		case nothing:
		case to.Type().Field(i).Tag.Get("envPrefix") == "":
			read := yaml.Unmarshal
			if field.CanInt() || field.CanFloat() {
				read = number
			}
			if err := read(m.Value.JSON(), field.Addr().Interface()); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %s%s: %.200s", m.Value.Place, section, m.Name, oneLine(message(err))))
			}
		case !m.Value.Mapping:
			wrong = append(wrong, fmt.Errorf("%s: %s has keys of its own", m.Value.Place, m.Name))
		default:
			wrong = append(wrong, lay(m.Value.Members, m.Name+".", field)...)
		}
	}
	return wrong
}

// number reads a number as JSON has it: YAML's library would cut 1.5 down to 1, and read
// one out of a text.
func number(raw []byte, into any) error {
	if json.Unmarshal(raw, into) == nil {
		return nil
	}
	if _, ok := into.(*float64); ok {
		return errors.New("want a number")
	}
	return errors.New("want a whole number")
}

// finite reads a variable's number; NaN would pass every comparison, and infinity be no bound.
func finite(s string) (any, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%.40q: want a number", s)
	}
	return f, nil
}

// message is what a decoder says without the place, which is none of the file's.
func message(err error) string {
	if place, ok := errors.AsType[yaml.Error](err); ok {
		return place.GetMessage()
	}
	return err.Error()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// unknownKey says that a key is unknown, and which is meant.
func unknownKey(section, key string) string {
	msg := fmt.Sprintf("unknown key %q", key)
	var here, elsewhere []string
	for _, s := range settings() {
		parent, name, nested := strings.Cut(s.key, ".")
		switch {
		case section == "" && nested:
			here = append(here, parent)
			elsewhere = append(elsewhere, name)
		case section == "":
			here = append(here, s.key)
		case parent+"." == section:
			here = append(here, name)
		default:
			elsewhere = append(elsewhere, s.key)
		}
	}
	if near := spelling.Nearest(key, here); near != "" {
		return msg + fmt.Sprintf(", did you mean %q?", near)
	}
	for _, s := range settings() {
		if s.key == key || strings.HasSuffix(s.key, "."+key) {
			return msg + fmt.Sprintf(" here; it is %s", s.key)
		}
	}
	if near := spelling.Nearest(key, elsewhere); near != "" {
		return msg + fmt.Sprintf(", did you mean %q?", near)
	}
	slices.Sort(here)
	return msg + "; there are: " + strings.Join(slices.Compact(here), ", ")
}

// parseEnvironment lays the variables SIGNET_... over c. Those that are other
// programs' of Signet are passed over; those that look like a mistyped one of ours
// are refused.
func parseEnvironment(variables map[string]string, c *Config) (wrong []error) {
	known := map[string]bool{}
	var names []string
	for _, s := range settings() {
		known[s.variable] = true
		names = append(names, s.variable)
	}
	for _, v := range slices.Sorted(maps.Keys(variables)) {
		if known[v] || !strings.HasPrefix(v, envPrefix) || slices.ContainsFunc(environ.Table(), func(row environ.Variable) bool { return row.Name == v }) {
			continue
		}
		near := spelling.Nearest(v, names)
		inSection := slices.ContainsFunc(settings(), func(s setting) bool {
			section, _, nested := strings.Cut(s.key, ".")
			return nested && strings.HasPrefix(v, envPrefix+strings.ToUpper(section)+"_")
		})
		if inSection || near != "" && spelling.Distance(v, near) <= 2 {
			wrong = append(wrong, fmt.Errorf("%s is not a setting, did you mean %s?", v, near))
		}
	}
	err := env.ParseWithOptions(c, env.Options{Prefix: envPrefix, Environment: variables, FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[float64](): finite,
	}})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return append(wrong, err)
	}
	for _, err := range all.Errors {
		var bad env.ParseError
		if errors.As(err, &bad) {
			for _, s := range settings() {
				if s.field == bad.Name {
					err = fmt.Errorf("%s: %w", s.variable, bad.Err)
				}
			}
		}
		wrong = append(wrong, err)
	}
	return wrong
}
