package strictjson

import (
	"encoding/base64"
	"fmt"
)

// Fields names the variables that an object's members go to: a *string, *bool,
// *int64, *[]byte (base64 with padding, RFC 4648, section 4) or *Value.
type Fields map[string]any

// Read checks a document of at most max bytes, an object, and puts its members
// where fields says. It gives the names of members that fields does not have; a
// variable whose member is missing stays as it was. It is for programs that want
// little of encoding/json, whose decoder is large. Values share data's memory.
func Read(data []byte, max int, fields Fields) (unknown []string, err error) {
	members, err := ObjectWithin(data, max, MaxMembers)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		into, ok := fields[m.Name]
		if !ok {
			unknown = append(unknown, m.Name)
			continue
		}
		if err := m.Value.put(into); err != nil {
			return nil, fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	return unknown, nil
}

func (v Value) put(into any) (err error) {
	switch into := into.(type) {
	case *string:
		*into, err = v.Text()
	case *bool:
		*into, err = v.Bool()
	case *int64:
		*into, err = v.Integer()
	case *[]byte:
		*into, err = v.Bytes()
	case *Value:
		*into = v
	default:
		err = fmt.Errorf("%w: no member goes into a %T", ErrMalformed, into)
	}
	return err
}

// Bool reads true or false.
func (v Value) Bool() (bool, error) {
	switch string(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%w: want true or false", ErrMalformed)
}

// Bytes reads a string in base64 with padding.
func (v Value) Bytes() ([]byte, error) {
	text, err := v.Text()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, nil
}
