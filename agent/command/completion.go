package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/signetd/signet/protocol/exit"
)

// completion prints a script for a shell, made of the table of commands.
func (p *program) completion(_ context.Context, args []string) error {
	f := p.flags("completion")
	words, err := p.words(f, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return exit.Usagef("completion needs one of bash, zsh, fish")
	}
	script, ok := map[string]func([]Page) string{"bash": bash, "zsh": zsh, "fish": fish}[words[0]]
	if !ok {
		return exit.Usagef("completion %q: want bash, zsh or fish", words[0])
	}
	_, err = fmt.Fprint(p.out, script(Pages()))
	return err
}

// choices are the values that a flag or a command's argument may have, nil if there are
// too many to tell.
func choices(page *Page, flag string) []string {
	switch flag {
	case "type":
		return []string{"access", "id"}
	case "format":
		return []string{"jwt", "cwt"}
	case "key":
		return []string{"file", "file:p256", "file:ed25519"}
	case "o":
		if page.Name == "credentials mqtt" {
			return []string{"text", "json", "password"}
		}
		return []string{"text", "json"}
	}
	return nil
}

// words are what may follow a command's name besides flags.
func words(page *Page) []string {
	if _, second, ok := strings.Cut(page.Name, " "); ok {
		return []string{second}
	}
	if strings.ContainsAny(page.Arguments, "[ ") || page.Arguments == "" {
		return nil
	}
	return strings.Split(page.Arguments, "|")
}

func word(page *Page) string { return strings.Fields(page.Name)[0] }

// dashed is a flag as it is typed.
func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

// isPath tells whether a flag's value is a path.
func isPath(f Flag) bool {
	return slices.Contains([]string{"file", "folder", "socket", "program"}, f.Value)
}

func bash(pages []Page) string {
	var all, flags, values strings.Builder
	for _, page := range pages {
		page := &page
		all.WriteString(" " + word(page))
		fmt.Fprintf(&flags, "    %s) words='%s", word(page), strings.Join(words(page), " "))
		for _, f := range page.Flags {
			flags.WriteString(" " + dashed(f.Name))
			switch list := choices(page, f.Name); {
			case list != nil:
				fmt.Fprintf(&values, "    %s:%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", word(page), dashed(f.Name), strings.Join(list, " "))
			case isPath(f):
				fmt.Fprintf(&values, "    %s:%s|:%s) compopt -o default; return ;;\n", word(page), dashed(f.Name), dashed(f.Name))
			case f.Value != "":
				fmt.Fprintf(&values, "    %s:%s|:%s) return ;;\n", word(page), dashed(f.Name), dashed(f.Name))
			}
		}
		flags.WriteString("' ;;\n")
	}
	return `# bash completion for signet-agent
_signet_agent_devices() {
  local file home=${XDG_STATE_HOME:-$HOME/.local/state}/signet
  for file in "$home"/*/` + settingsName + `; do
    [ -e "$file" ] && file=${file%/*} && printf '%s\n' "${file##*/}"
  done
}
_signet_agent() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= command= word skip=
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [ -n "$skip" ] && skip= && continue
    case $word in
    ` + strings.Join(typed(pages, needsValue), "|") + `) skip=1 ;;
    -*) ;;
    *) command=$word; break ;;
    esac
  done
  case $command:$prev in
  *:--name) COMPREPLY=($(compgen -W "$(_signet_agent_devices)" -- "$cur")); return ;;
` + values.String() + `  esac
  case $command in
    '') case $cur in -*) words='` + strings.Join(typed(pages), " ") + `' ;; *) words='` + strings.TrimSpace(all.String()) + `' ;; esac ;;
` + flags.String() + `  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _signet_agent signet-agent
`
}

// typed are the flags of all commands as they are typed, or those that are of a kind.
func typed(pages []Page, kinds ...func(Flag) bool) (all []string) {
	for _, page := range pages {
		for _, f := range page.Flags {
			other := func(is func(Flag) bool) bool { return !is(f) }
			if name := dashed(f.Name); !slices.ContainsFunc(kinds, other) && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

func needsValue(f Flag) bool { return f.Value != "" }

func zsh(pages []Page) string {
	var all, cases strings.Builder
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	for _, page := range pages {
		page := &page
		fmt.Fprintf(&all, "    '%s:%s'\n", word(page), quote.Replace(page.Summary))
		fmt.Fprintf(&cases, "    %s) _arguments", word(page))
		for _, f := range page.Flags {
			value := ""
			switch list := choices(page, f.Name); {
			case f.Name == "name":
				value = ":name:_signet_agent_devices"
			case list != nil:
				value = ":" + f.Name + ":(" + strings.ReplaceAll(strings.Join(list, " "), ":", `\:`) + ")"
			case isPath(f):
				value = ":" + f.Value + ":_files"
			case f.Value != "":
				value = ":" + f.Value + ":"
			}
			fmt.Fprintf(&cases, " \\\n      '%s[%s]%s'", dashed(f.Name), quote.Replace(f.Usage), value)
		}
		if list := words(page); list != nil {
			fmt.Fprintf(&cases, " \\\n      '1:word:(%s)'", strings.Join(list, " "))
		}
		cases.WriteString(" ;;\n")
	}
	return `#compdef signet-agent
_signet_agent_devices() {
  local -a devices
  devices=("${XDG_STATE_HOME:-$HOME/.local/state}"/signet/*/` + settingsName + `(N:h:t))
  compadd -- "${devices[@]}"
}
_signet_agent() {
  local -a commands
  commands=(
` + all.String() + `  )
  local -i at=2
  while (( at < CURRENT )) && [[ $words[at] == -* ]]; do
    case $words[at] in
    ` + strings.Join(typed(pages, needsValue), "|") + `) (( at += 2 )) ;;
    *) (( at += 1 )) ;;
    esac
  done
  if (( at > CURRENT )) && [[ $words[CURRENT-1] == --name ]]; then
    _signet_agent_devices
    return
  fi
  if (( at > CURRENT )); then
    _files
    return
  fi
  if (( at == CURRENT )); then
    _describe command commands
    return
  fi
  local command=$words[at]
  words=($words[at] ${words[2,at-1]} ${words[at+1,-1]})
  (( CURRENT-- ))
  case $command in
` + cases.String() + `  esac
}
compdef _signet_agent signet-agent
`
}

func fish(pages []Page) string {
	var out strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	out.WriteString(`# fish completion for signet-agent
function __signet_agent_devices
  set -l home $XDG_STATE_HOME
  test -n "$home"; or set home ~/.local/state
  for file in $home/signet/*/` + settingsName + `
    basename (dirname $file)
  end
end
complete -c signet-agent -f
`)
	var all []string
	for _, page := range pages {
		all = append(all, word(&page))
	}
	before := "complete -c signet-agent -n 'not __fish_seen_subcommand_from " + strings.Join(all, " ") + "'"
	fmt.Fprintf(&out, "%s -l name -x -a '(__signet_agent_devices)'\n%s -l state -r -F\n", before, before)
	for _, page := range pages {
		page := &page
		fmt.Fprintf(&out, "%s -a %s -d '%s'\n", before, word(page), quote.Replace(page.Summary))
		in := "complete -c signet-agent -n '__fish_seen_subcommand_from " + word(page) + "'"
		for _, f := range page.Flags {
			kind := " -l "
			if len(f.Name) == 1 {
				kind = " -s "
			}
			value := ""
			switch list := choices(page, f.Name); {
			case f.Name == "name":
				value = " -x -a '(__signet_agent_devices)'"
			case list != nil:
				value = " -x -a '" + strings.Join(list, " ") + "'"
			case isPath(f):
				value = " -r -F"
			case f.Value != "":
				value = " -x"
			}
			fmt.Fprintf(&out, "%s%s%s%s -d '%s'\n", in, kind, f.Name, value, quote.Replace(f.Usage))
		}
		if list := words(page); list != nil {
			fmt.Fprintf(&out, "%s -a '%s'\n", in, strings.Join(list, " "))
		}
	}
	return out.String()
}
