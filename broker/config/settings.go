package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
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

// parse lays a YAML document over c.
func parse(raw []byte, c *Config) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	var all strictyaml.Errors
	if _, err := strictyaml.Read(raw); errors.As(err, &all) {
		return all[0]
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	err := dec.Decode(c)
	if errors.Is(err, io.EOF) { // comments only
		return nil
	}
	if err == nil {
		var more any
		if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
			return errors.New("a second YAML document; want one")
		}
		return nil
	}
	var place yaml.Error
	if !errors.As(err, &place) || place.GetToken() == nil {
		return fmt.Errorf("not understood: %.200s", oneLine(err.Error()))
	}
	at := place.GetToken().Position
	where := fmt.Sprintf("line %d, column %d: ", at.Line, at.Column)
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		return errors.New(where + unknownKey(sectionAt(raw, at.Line, at.Column), unknown.Token.Value))
	}
	return fmt.Errorf("%s%.200s", where, oneLine(place.GetMessage()))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sectionAt gives the section that a line of block style is in: "listen." or nothing.
func sectionAt(raw []byte, line, column int) string {
	lines := bytes.Split(raw, []byte("\n"))
	for i := min(line-2, len(lines)-1); i >= 0 && column > 1; i-- {
		text := lines[i]
		name := bytes.TrimLeft(text, " ")
		if len(bytes.TrimSpace(name)) == 0 || name[0] == '#' || len(text)-len(name) >= column-1 {
			continue
		}
		if key, _, ok := bytes.Cut(name, []byte(":")); ok {
			return string(key) + "."
		}
		return ""
	}
	return ""
}

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
func parseEnvironment(variables map[string]string, c *Config) error {
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
			return fmt.Errorf("%s is not a setting, did you mean %s?", v, near)
		}
	}
	err := env.ParseWithOptions(c, env.Options{Prefix: envPrefix, Environment: variables})
	var bad env.ParseError
	if errors.As(err, &bad) {
		for _, s := range settings() {
			if s.field == bad.Name {
				return fmt.Errorf("%s: %w", s.variable, bad.Err)
			}
		}
	}
	return err
}
