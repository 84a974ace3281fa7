package cli

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

// A form is a pointer to one of the API's bodies, whose fields say in tags what flags
// and columns they are (adminapi.Noun).
type form struct{ v reflect.Value }

func formOf(pointer any) form { return form{reflect.ValueOf(pointer).Elem()} }

// A field is one field of a form.
type field struct {
	value reflect.Value
	tag   reflect.StructTag
	name  string // in JSON
	must  bool   // it is always in JSON
}

func (f form) fields() []field {
	var all []field
	for i := range f.v.NumField() {
		tag := f.v.Type().Field(i).Tag
		name, options, _ := strings.Cut(tag.Get("json"), ",")
		all = append(all, field{f.v.Field(i), tag, name, !strings.Contains(options, "omitempty")})
	}
	return all
}

func (f form) member(name string) (reflect.Value, bool) {
	for _, x := range f.fields() {
		if x.name == name {
			return x.value, true
		}
	}
	return reflect.Value{}, false
}

// columns gives the headings and cells of a table; long adds the columns that only the
// command show has.
func (f form) columns(long bool) (header, row []string) {
	for _, x := range f.fields() {
		heading, option, _ := strings.Cut(x.tag.Get("column"), ",")
		if heading == "" || option == "show" && !long {
			continue
		}
		text := cell(x.value)
		if of := x.tag.Get("of"); of != "" {
			text += " of " + cell(f.v.FieldByName(of))
		}
		header, row = append(header, heading), append(row, text)
	}
	return header, row
}

// cell writes a value for people.
func cell(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case map[string]string:
		return pairs(x)
	case *adminapi.Duration:
		if x == nil || *x == 0 {
			return "none"
		}
		return x.String()
	case *time.Time:
		return stamp(x)
	case time.Time:
		return stamp(&x)
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

// secret gives the secret in an answer, with its heading.
func (f form) secret() (secret, heading string) {
	for _, x := range f.fields() {
		if heading := x.tag.Get("secret"); heading != "" && x.value.String() != "" {
			return x.value.String(), heading
		}
	}
	return "", ""
}

// flags adds the form's flags to a command. It gives their names, and a function that copies
// the flags that were given into a form of the same kind.
func (f form) flags(cmd *cobra.Command, defaults bool) (names []string, take func(to form) error) {
	var each []func(to form) error
	for i, x := range f.fields() {
		name := x.tag.Get("flag")
		if name == "" {
			continue
		}
		names = append(names, name)
		read := flagFor(cmd, x, name, defaults)
		each = append(each, func(to form) error {
			if !cmd.Flags().Changed(name) {
				return nil
			}
			for _, other := range to.fields() { // what is said together is replaced together
				if with := x.tag.Get("with"); with != "" && other.tag.Get("flag") == with && !cmd.Flags().Changed(with) {
					other.value.SetZero()
				}
			}
			return read(to.v.Field(i))
		})
	}
	return names, func(to form) error {
		for _, do := range each {
			if err := do(to); err != nil {
				return err
			}
		}
		return nil
	}
}

// spelled gives the one of values, separated by commas, that differs from text in case at
// most; text itself if there is none.
func spelled(text, values string) string {
	for v := range strings.SplitSeq(values, ",") {
		if strings.EqualFold(v, text) {
			return v
		}
	}
	return text
}

// flagFor adds the flag of one field, and gives what sets a field to its value.
func flagFor(cmd *cobra.Command, x field, name string, defaults bool) func(reflect.Value) error {
	usage := strings.NewReplacer("<", "`", ">", "`").Replace(x.tag.Get("usage"))
	f := cmd.Flags()
	var read func(reflect.Value) error
	switch x.value.Interface().(type) {
	case string:
		v := f.String(name, "", usage)
		read = func(to reflect.Value) error { to.SetString(spelled(*v, x.tag.Get("enum"))); return nil }
	case bool:
		v := f.Bool(name, false, usage)
		read = func(to reflect.Value) error { to.SetBool(*v); return nil }
	case *int:
		v := f.Int(name, 0, usage)
		read = func(to reflect.Value) error { n := *v; to.Set(reflect.ValueOf(&n)); return nil }
	case []string:
		v := f.StringArray(name, nil, usage)
		read = func(to reflect.Value) error { to.Set(reflect.ValueOf(*v)); return nil }
	case map[string]string:
		v := f.StringArray(name, nil, usage)
		read = func(to reflect.Value) error {
			m, err := parsePairs(*v)
			if err == nil {
				to.Set(reflect.ValueOf(m))
			}
			return err
		}
	case *adminapi.Duration:
		v := new(adminapi.Duration)
		f.Var(v, name, usage)
		read = func(to reflect.Value) error { d := *v; to.Set(reflect.ValueOf(&d)); return nil }
	default: // a form of ours with a field that no flag can be: the command would lack it
		return func(reflect.Value) error { return fmt.Errorf("--%s: not understood", name) }
	}
	if words := x.tag.Get("enum"); words != "" {
		complete(cmd, name, cobra.FixedCompletions(strings.Split(words, ","), cobra.ShellCompDirectiveNoFileComp))
	}
	shown := ""
	if defaults {
		shown = x.tag.Get("shown")
	}
	if shown != "" || x.value.Kind() == reflect.Pointer {
		f.Lookup(name).DefValue = shown
	}
	return read
}
