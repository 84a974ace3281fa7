package vectors_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A reader of CDDL (RFC 8610), as much of it as signet.cddl uses: no validator of
// CDDL is there for Go. What it cannot read is an error, never passed over.

// A rule is a type or, in parentheses, a group; params make it generic.
type rule struct {
	params []string
	typ    *cddlType
	group  *cddlGroup
}

// A cddlType is a choice of terms.
type cddlType []cddlTerm

// A cddlTerm has one of: literal, range, name, map or array, enumeration, tag, inner.
type cddlTerm struct {
	literal  any // int64 or string
	low      *int64
	high     int64
	name     string
	args     []*cddlType
	members  *cddlGroup
	array    bool
	enum     *cddlGroup
	tag      *uint64
	inner    *cddlType // of a tag, or in parentheses
	operator string    // "", "size", "cbor", "regexp"
	operand  *cddlTerm
}

// A cddlGroup is a choice of lists of entries.
type cddlGroup [][]cddlEntry

type cddlEntry struct {
	least, most int
	label       string    // of a bareword, which only names
	key         *cddlType // nil: an element of an array, or a group to put in
	value       *cddlType
	group       *cddlGroup
}

var cddlToken = regexp.MustCompile(`^(?:;[^\n]*|\s+|"[^"]*"|-?[0-9]+|#6\.[0-9]+|\.\.|\.[a-z]+|[A-Za-z][A-Za-z0-9-]*|=>|//|[/=(){}\[\]<>,:?*+&])`)

func cddlTokens(text string) ([]string, error) {
	var out []string
	for text != "" {
		tok := cddlToken.FindString(text)
		if tok == "" {
			return nil, fmt.Errorf("cannot read %.20q", text)
		}
		if tok[0] != ';' && strings.TrimSpace(tok) != "" {
			out = append(out, tok)
		}
		text = text[len(tok):]
	}
	return out, nil
}

type cddlParser struct{ toks []string }

func (p *cddlParser) peek(n int) string {
	if n < len(p.toks) {
		return p.toks[n]
	}
	return ""
}

func (p *cddlParser) next() string {
	tok := p.peek(0)
	p.toks = p.toks[min(1, len(p.toks)):]
	return tok
}

// take takes tok if it is the next one.
func (p *cddlParser) take(tok string) bool {
	if p.peek(0) != tok {
		return false
	}
	p.next()
	return true
}

// want ends the parse if tok is not the next one; parseCDDL recovers.
func (p *cddlParser) want(tok string) {
	if !p.take(tok) {
		panic(fmt.Sprintf("want %q before %q", tok, p.toks[:min(5, len(p.toks))]))
	}
}

func parseCDDL(text string) (rules map[string]*rule, err error) {
	toks, err := cddlTokens(text)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("CDDL: %v", r)
		}
	}()
	rules = make(map[string]*rule)
	p := &cddlParser{toks}
	for len(p.toks) > 0 {
		name := p.next()
		if rules[name] != nil || !isName(name) {
			panic(fmt.Sprintf("rule %q: no name, or there already", name))
		}
		rules[name] = p.rule()
	}
	return rules, nil
}

func isName(tok string) bool { return tok != "" && (tok[0]|0x20 >= 'a' && tok[0]|0x20 <= 'z') }

func (p *cddlParser) rule() *rule {
	r := &rule{}
	if p.take("<") {
		for !p.take(">") {
			r.params = append(r.params, p.next())
			p.take(",")
		}
	}
	p.want("=")
	if p.take("(") {
		r.group = p.group(")")
	} else {
		r.typ = p.typ()
	}
	return r
}

func (p *cddlParser) typ() *cddlType {
	out := cddlType{p.term()}
	for p.take("/") {
		out = append(out, p.term())
	}
	return &out
}

func (p *cddlParser) term() cddlTerm {
	t := p.simple()
	if op := p.peek(0); op == ".size" || op == ".cbor" || op == ".regexp" {
		p.next()
		operand := p.simple()
		t.operator, t.operand = op[1:], &operand
	}
	return t
}

func (p *cddlParser) simple() cddlTerm {
	tok := p.next()
	switch {
	case tok == "{":
		return cddlTerm{members: p.group("}")}
	case tok == "[":
		return cddlTerm{members: p.group("]"), array: true}
	case tok == "&":
		p.want("(")
		return cddlTerm{enum: p.group(")")}
	case tok == "(":
		inner := p.typ()
		p.want(")")
		return cddlTerm{inner: inner}
	case strings.HasPrefix(tok, "#6."):
		tag := uint64(number(tok[3:]))
		p.want("(")
		inner := p.typ()
		p.want(")")
		return cddlTerm{tag: &tag, inner: inner}
	case strings.HasPrefix(tok, `"`):
		return cddlTerm{literal: strings.Trim(tok, `"`)}
	case isName(tok):
		t := cddlTerm{name: tok}
		if p.take("<") {
			for !p.take(">") {
				t.args = append(t.args, p.typ())
				p.take(",")
			}
		}
		return t
	}
	n := number(tok)
	if p.take("..") {
		return cddlTerm{low: &n, high: number(p.next())}
	}
	return cddlTerm{literal: n}
}

func number(tok string) int64 {
	n, err := strconv.ParseInt(tok, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", tok))
	}
	return n
}

func (p *cddlParser) group(end string) *cddlGroup {
	out := cddlGroup{nil}
	for !p.take(end) {
		if p.take("//") {
			out = append(out, nil)
			continue
		}
		last := len(out) - 1
		out[last] = append(out[last], p.entry())
		p.take(",")
	}
	return &out
}

const unbounded = 1 << 30

func (p *cddlParser) entry() cddlEntry {
	e := cddlEntry{least: 1, most: 1}
	switch p.peek(0) {
	case "?":
		e.least = 0
	case "*":
		e.least, e.most = 0, unbounded
	case "+":
		e.most = unbounded
	}
	if e.least != 1 || e.most != 1 {
		p.next()
	}
	if p.take("(") {
		e.group = p.group(")")
		return e
	}
	if isName(p.peek(0)) && p.peek(1) == ":" {
		e.label = p.next()
		p.next()
		e.value = p.typ()
		return e
	}
	e.value = p.typ()
	if p.take("=>") {
		e.key, e.value = e.value, p.typ()
	}
	return e
}

// readCDDL gives the rules of signet.cddl.
func readCDDL(t *testing.T) map[string]*rule {
	t.Helper()
	raw, err := os.ReadFile("../signet.cddl")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := parseCDDL(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}
