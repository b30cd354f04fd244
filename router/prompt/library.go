// Package prompt keeps prompt templates: files with messages in which variables stand, in versions that are named by
// semantic versioning (https://semver.org). A request refers to one as OpenAI's Responses API does,
//
//	"prompt": {"id": "support", "version": "^1", "variables": {"product": "Jarvis"}}
//
// and gets the template's messages in front of its own; or its model has one, and every request gets that.
package prompt

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"jarvis-gateway/proxy/wire"
)

// ranges is how many of the ranges that clients write are remembered: to read one takes longer than all else.
const ranges = 1024

// Library is all templates. It never changes, and may be shared. A nil Library has none, and leaves requests alone.
type Library struct {
	families map[string]*family
	names    []string
	seen     *lru.Cache[asked, *Template]
}

// asked is a range of a template's versions.
type asked struct{ name, versions string }

// Load reads all templates, and checks everything. The error is every problem there is. Without a folder the Library is nil.
func Load(cfg Config) (*Library, error) {
	if cfg.Dir == "" {
		if len(cfg.Releases) > 0 {
			return nil, errors.New("prompts.dir: must be set, as there are releases")
		}
		return nil, nil
	}
	templates, err := readFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Library{families: map[string]*family{}}
	for _, t := range templates {
		if l.families[t.Name] == nil {
			l.families[t.Name] = &family{name: t.Name, exact: map[string]*Template{}}
			l.names = append(l.names, t.Name)
		}
		l.families[t.Name].add(t)
	}
	slices.Sort(l.names)
	if l.seen, err = lru.New[asked, *Template](ranges); err != nil {
		panic("BUG: " + err.Error())
	}
	if err := l.setReleases(cfg.Releases); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Library) setReleases(releases map[string]Release) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(releases)) {
		path := "prompts.releases." + name
		f := l.families[name]
		if f == nil {
			errs = append(errs, fmt.Errorf("%s: there is no template of that name (%s)", path, choices(l.names)))
			continue
		}
		var err error
		f.release, err = compile(path, f, releases[name], nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Pin readies what a model has for use. Errors are worded with path, where it stands in the configuration. It is nil if
// nothing was said.
func (l *Library) Pin(path string, u Use) (*Pin, error) {
	switch {
	case u.IsZero():
		return nil, nil
	case u.Name == "":
		return nil, fmt.Errorf("%s.name: must be set", path)
	case l == nil:
		return nil, fmt.Errorf("%s.name: there are no templates (set prompts.dir)", path)
	}
	f := l.families[u.Name]
	if f == nil {
		return nil, fmt.Errorf("%s.name: there is no template %q (%s)", path, u.Name, choices(l.names))
	}
	r := Release{Version: u.Version, Rollout: u.Rollout}
	if own := f.release; r.Version == "" && own != nil {
		if r.Version = own.said.Version; r.Rollout.isZero() {
			r.Rollout = own.said.Rollout
		}
	}
	compiled, err := compile(path, f, r, u.Variables)
	if err != nil {
		return nil, err
	}
	return &Pin{name: u.Name, release: compiled}, nil
}

// Find returns the highest version of a template in a range: 1.2.0, ^1.2, ~1.2.3, 1.x, >=1.0 <2.0; "" and latest are all
// but prereleases. Prereleases are only in ranges that name one. The error is a *wire.Error for the client.
func (l *Library) Find(name, versions string) (*Template, error) {
	f, err := l.family(name)
	if err != nil {
		return nil, err
	}
	return l.find(f, versions)
}

func (l *Library) family(name string) (*family, error) {
	if l != nil && l.families[name] != nil {
		return l.families[name], nil
	}
	return nil, missing("prompt.id", fmt.Sprintf("prompt.id: there is no prompt %s.", shown(name))) // which there are is not every client's business
}

func (l *Library) find(f *family, versions string) (*Template, error) {
	if t := f.exact[versions]; t != nil {
		return t, nil
	}
	key := asked{f.name, versions}
	if t, ok := l.seen.Get(key); ok {
		return t, nil
	}
	fits, err := parseRange(versions)
	if err != nil {
		return nil, wire.Invalid("prompt.version", "prompt.version: %v.", err)
	}
	t := f.highest(fits)
	if t == nil {
		return nil, missing("prompt.version", fmt.Sprintf("prompt.version: prompt %s has no version that fits %s (%s).", f.name, shown(versions), choices(f.list())))
	}
	l.seen.Add(asked{f.name, strings.Clone(versions)}, t)
	return t, nil
}

// All yields every version of every template, by name, the highest version first.
func (l *Library) All() iter.Seq[*Template] {
	return func(yield func(*Template) bool) {
		if l == nil {
			return
		}
		for _, name := range l.names {
			for _, t := range l.families[name].versions {
				if !yield(t) {
					return
				}
			}
		}
	}
}

func missing(param, message string) *wire.Error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "prompt_not_found", Param: param, Message: message}
}

// choices lists what there is, if it is not too much.
func choices(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "there are none"
	case len(names) > most:
		return fmt.Sprintf("have: %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "have: " + strings.Join(names, ", ")
}

// shown quotes a name of the client's, cut to a readable length.
func shown(name string) string {
	if len(name) > 64 {
		return fmt.Sprintf("%q...", name[:60])
	}
	return fmt.Sprintf("%q", name)
}
