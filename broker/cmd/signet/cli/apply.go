package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/strictyaml"
	"github.com/signetd/signet/protocol/exit"
)

const maxSettingsFile = 1 << 20 // bytes of one file of settings

// errDiffers ends diff with code 1, and says no more than the differences do.
var errDiffers = errors.New("settings differ")

// A settingsFile is one file that was read.
type settingsFile struct {
	name  string
	value strictyaml.Value
}

// A settingsSet is what several files say together. A list may go on in the next file.
type settingsSet struct {
	files []settingsFile
	lists map[string][]origin
	order []string
}

// An origin is where an item of a list is from.
type origin struct {
	file  int
	index int
	item  json.RawMessage
}

// A fileError says what is wrong, in which file and where in it.
type fileError struct {
	file string
	strictyaml.Error
}

// fileErrors are all that is wrong, in the order of the files.
type fileErrors []fileError

func (all fileErrors) Error() string {
	texts := make([]string, 0, len(all)+1)
	if len(all) > 1 {
		texts = append(texts, fmt.Sprintf("%d things are wrong; nothing was changed", len(all)))
	}
	for _, e := range all {
		texts = append(texts, e.file+": "+e.Error.Error())
	}
	return strings.Join(texts, "\n")
}

// readSettings puts files together.
func readSettings(names []string, texts [][]byte) (*settingsSet, error) {
	set := &settingsSet{lists: map[string][]origin{}}
	var wrong fileErrors
	for i, text := range texts {
		v, err := strictyaml.Read(text)
		var all strictyaml.Errors
		if errors.As(err, &all) {
			for _, e := range all {
				wrong = append(wrong, fileError{names[i], *e})
			}
		}
		set.files = append(set.files, settingsFile{names[i], v})
		if err == nil && !v.Mapping {
			wrong = append(wrong, fileError{names[i], strictyaml.Error{Place: v.Place, Text: "want lists such as pools: and clients:"}})
		}
		for _, m := range v.Members {
			switch {
			case m.Name == "dryRun" || m.Name == "prune" || m.Name == "force" || m.Name == "plan":
				wrong = append(wrong, fileError{names[i], strictyaml.Error{Place: m.Place, Text: fmt.Sprintf("unknown key %q", m.Name)}})
			case !m.Value.List:
				wrong = append(wrong, fileError{names[i], strictyaml.Error{Place: m.Place, Text: fmt.Sprintf("%s is a list", m.Name)}})
			default:
				set.add(i, m)
			}
		}
	}
	if wrong != nil {
		return set, wrong
	}
	return set, nil
}

// whole adds to err, which is wrong with the files by themselves, what the broker finds
// wrong with the rest of them: a person learns all of it from one run.
func (set *settingsSet) whole(a *app, cmd *cobra.Command, err error) error {
	var wrong, more fileErrors
	c, offline := a.connect()
	readable := !slices.ContainsFunc(set.files, func(f settingsFile) bool { return !f.value.Mapping })
	if !errors.As(err, &wrong) || offline != nil || !readable {
		return err
	}
	if _, err := c.Apply(cmd.Context(), set.request(asked{dryRun: true})); errors.As(set.explain(err), &more) {
		wrong = append(wrong, more...)
	}
	rank := map[string]int{}
	for i, f := range set.files {
		rank[f.name] = i
	}
	slices.SortStableFunc(wrong, func(a, b fileError) int {
		return cmp.Or(cmp.Compare(rank[a.file], rank[b.file]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return wrong
}

func (set *settingsSet) add(file int, m strictyaml.Member) {
	if _, known := set.lists[m.Name]; !known {
		set.order = append(set.order, m.Name)
		set.lists[m.Name] = []origin{}
	}
	for i := range m.Value.Items {
		set.lists[m.Name] = append(set.lists[m.Name], origin{file, i, m.Value.Items[i].JSON()})
	}
}

// asked is what is asked of the broker beside the settings.
type asked struct {
	dryRun, prune, force bool
	plan                 string
}

// request writes what is asked of the broker.
func (set *settingsSet) request(q asked) json.RawMessage {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"dryRun":%t,"prune":%t,"force":%t,"plan":%q`, q.dryRun, q.prune, q.force, q.plan)
	for _, name := range set.order {
		key, err := json.Marshal(name)
		if err != nil { // text marshals
			continue
		}
		fmt.Fprintf(&b, ",%s:[", key)
		for i, o := range set.lists[name] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(o.item)
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes()
}

// explain replaces the places that a problem names in the request by those in the files.
func (set *settingsSet) explain(err error) error {
	var p *problem.Problem
	if !errors.As(err, &p) || len(p.Errors) == 0 {
		return err
	}
	type ranked struct {
		fileError
		file int
	}
	var all []ranked
	for _, e := range p.Errors {
		file, path := set.locate(e.Location)
		at, v := set.files[file].value.Find(path)
		text := e.Message
		if v != nil && v.Scalar != nil && text == "expected string" {
			text += "; put it in quotes"
		}
		all = append(all, ranked{fileError{set.files[file].name, strictyaml.Error{Place: at, Text: text}}, file})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var out fileErrors
	for _, r := range all {
		out = append(out, r.fileError)
	}
	return exit.With(p.Exit(), out)
}

// locate finds the file of a path such as clients[2].accessLife, and the path in it.
func (set *settingsSet) locate(path string) (file int, own string) {
	name, rest, listed := strings.Cut(path, "[")
	number, member, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	if items := set.lists[name]; listed && err == nil && i >= 0 && i < len(items) {
		o := items[i]
		return o.file, fmt.Sprintf("%s[%d]%s", name, o.index, member)
	}
	for i, f := range set.files {
		if slices.ContainsFunc(f.value.Members, func(m strictyaml.Member) bool { return m.Name == name }) {
			return i, name
		}
	}
	return 0, ""
}

// settingsFlags are the flags that apply and diff share.
type settingsFlags struct {
	files []string
	prune bool
}

func (f *settingsFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "file", "f", nil, "`file` of settings, - for standard input; may be repeated")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "delete settings that no file mentions, of the kinds and in the pools that they do")
	if err := cmd.MarkFlagFilename("file", "yaml", "yml"); err != nil {
		cmd.PreRunE = func(*cobra.Command, []string) error { return err }
	}
}

// read reads the files.
func (f *settingsFlags) read(a *app, cmd *cobra.Command) (*settingsSet, error) {
	if len(f.files) == 0 {
		return nil, &hintedError{usagef("%s needs -f FILE", cmd.CommandPath()), "see " + cmd.CommandPath() + " --help"}
	}
	var texts [][]byte
	for _, name := range f.files {
		text, err := a.readInput(name, maxSettingsFile)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	set, err := readSettings(f.files, texts)
	if err != nil {
		return nil, set.whole(a, cmd, err)
	}
	return set, nil
}

const settingsHelp = "A file has lists of settings, each under its plural: pools, clients, flows, hooks, enrollments, groups.\n" +
	"All but pools say which pool they are in:\n\n" +
	"  pools:\n    - name: demo\n  clients:\n    - pool: demo\n      id: app\n      accessLife: 15m\n\n" +
	"What no file mentions stays as it is, unless --prune is given. Pools are never deleted."

func (a *app) diff() *cobra.Command {
	var f settingsFlags
	cmd := a.leaf("diff", "Show what apply would change", "signet diff -f settings.yaml\nsignet diff -f settings.yaml --prune -o json", func(cmd *cobra.Command, _ []string) error {
		set, err := f.read(a, cmd)
		if err != nil {
			return &troubleError{err}
		}
		c, err := a.connect()
		if err != nil {
			return &troubleError{err}
		}
		out, err := c.Apply(cmd.Context(), set.request(asked{dryRun: true, prune: f.prune}))
		if err != nil {
			return &troubleError{set.explain(err)}
		}
		if err := a.changes(out, false); err != nil {
			return &troubleError{err}
		}
		if out.Differs() {
			return errDiffers
		}
		return nil
	})
	cmd.Long = "Shows what apply would change. Exits with 0 if that is nothing, 1 if it is something, 2 in trouble.\n\n" + settingsHelp
	f.add(cmd)
	return cmd
}

// A troubleError ends diff with code 2, as diff(1) does.
type troubleError struct{ error }

func (e *troubleError) Unwrap() error { return e.error }

func (a *app) apply() *cobra.Command {
	var f settingsFlags
	var yes, force bool
	cmd := a.leaf("apply", "Make settings what files say, all of them or none", "signet apply -f settings.yaml\ncat settings.yaml | signet apply -f -\nsignet apply -f settings.yaml --prune --yes", func(cmd *cobra.Command, _ []string) error {
		set, err := f.read(a, cmd)
		if err != nil {
			return err
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		plan := ""
		if f.prune {
			preview, err := c.Apply(cmd.Context(), set.request(asked{dryRun: true, prune: true}))
			if err != nil {
				return set.explain(err)
			}
			if err := a.confirm(preview, yes, force); err != nil {
				return err
			}
			plan = preview.Plan
		}
		out, err := c.Apply(cmd.Context(), set.request(asked{prune: f.prune, force: force, plan: plan}))
		if err != nil {
			return set.explain(err)
		}
		return a.changes(out, true)
	})
	cmd.Long = "Makes settings what files say, in one transaction: all of them or none.\n\n" + settingsHelp
	f.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete what --prune would, as far as it is not in use")
	cmd.Flags().BoolVar(&force, "force", false, "really delete what --prune would, even what devices are logged in with")
	return cmd
}

// confirm shows what would be deleted, and refuses to go on without a yes.
func (a *app) confirm(preview adminapi.Applied, yes, force bool) error {
	var gone []string
	breaks := 0
	for _, c := range preview.Changes {
		if c.Action != adminapi.ActionDelete {
			continue
		}
		line := c.Kind + " " + c.Pool + "/" + c.Name
		if c.Breaks != "" {
			breaks++
			line += ": " + c.Breaks
		}
		gone = append(gone, line)
	}
	if len(gone) > 0 {
		a.note("what goes%s:", a.on())
	}
	for _, g := range gone {
		a.note("deletes %s", g)
	}
	switch {
	case len(gone) == 0 || force:
		return nil
	case breaks > 0:
		return &hintedError{usagef("this deletes %s, %d of them in use", counted(len(gone), "setting"), breaks), "if that is what you want, say so with --force"}
	case yes:
		return nil
	}
	return &hintedError{usagef("this deletes %s, for good", counted(len(gone), "setting")), "if that is what you want, say so with --yes"}
}

// changes prints what was done or would be.
func (a *app) changes(out adminapi.Applied, done bool) error {
	if a.format != "table" {
		header := []string{"ACTION", "KIND", "POOL", "NAME", "SECRET"}
		var rows [][]string
		for _, c := range out.Changes {
			rows = append(rows, []string{c.Action, c.Kind, c.Pool, c.Name, c.Secret})
		}
		return a.show(out, header, rows...)
	}
	counts := map[string]int{}
	for _, c := range out.Changes {
		counts[c.Action]++
		if err := a.change(c, done); err != nil {
			return err
		}
	}
	a.note("%d to create, %d to update, %d to delete, %d unchanged", counts[adminapi.ActionCreate], counts[adminapi.ActionUpdate],
		counts[adminapi.ActionDelete], counts[adminapi.ActionUnchanged])
	return nil
}

// change prints one change and, of an update, its fields.
func (a *app) change(c adminapi.Change, done bool) error {
	word := map[string]string{adminapi.ActionCreate: "created", adminapi.ActionUpdate: "updated", adminapi.ActionDelete: "deleted", adminapi.ActionUnchanged: "unchanged"}[c.Action]
	mark := map[string]string{adminapi.ActionCreate: "+", adminapi.ActionUpdate: "~", adminapi.ActionDelete: "-"}[c.Action]
	if !done {
		if mark == "" {
			return nil
		}
		word = mark
	}
	what := c.Kind + " " + c.Pool + "/" + c.Name
	if c.Kind == "pool" {
		what = "pool " + c.Name
	}
	if _, err := fmt.Fprintf(a.Out, "%s %s\n", word, what); err != nil {
		return err
	}
	for _, f := range c.Fields {
		if _, err := fmt.Fprintf(a.Out, "    %s: %s -> %s\n", f.Name, onOneLine(f.Old), onOneLine(f.New)); err != nil {
			return err
		}
	}
	if c.Breaks != "" && !done {
		if _, err := fmt.Fprintf(a.Out, "    breaks: %s\n", c.Breaks); err != nil {
			return err
		}
	}
	if c.Secret != "" {
		_, err := fmt.Fprintf(a.Out, "    secret, shown only now: %s\n", c.Secret)
		return err
	}
	return nil
}

// onOneLine writes a value in the way of a settings file, on one line.
func onOneLine(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return text
	}
	if len(raw) == 0 {
		return "(none)"
	}
	return string(raw)
}
