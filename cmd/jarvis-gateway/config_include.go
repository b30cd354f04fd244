package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// main reads the main file and what it includes.
func (r *reading) main() {
	text, err := os.ReadFile(r.path)
	if err != nil {
		r.problems = append(r.problems, r.unreadable(place{}, err))
		return
	}
	r.mainText(r.path, text)
	seen := map[string]bool{}
	for i, pattern := range r.Include {
		at, ok := r.places[fmt.Sprintf("include[%d]", i)]
		if !ok {
			at = r.places["include"] // one pattern, written without a list
		}
		files, err := match(r.path, pattern)
		if err != nil {
			r.problems = append(r.problems, problem{place: at, path: "include", text: masker(r.hidden).Replace(err.Error())})
		}
		for _, file := range files {
			if !seen[file] {
				r.include(at, file)
			}
			seen[file] = true
		}
	}
	if r.Prices.File != "" {
		r.Prices.File = beside(r.path, r.Prices.File)
		if text, err := os.ReadFile(r.Prices.File); err == nil && len(text) <= maxFile { // else the package tells what is wrong
			r.pricesText(r.relative(r.Prices.File), text)
		}
	}
	if r.Prompts.Dir != "" {
		r.Prompts.Dir = beside(r.path, r.Prompts.Dir)
	}
	if r.Flows.Dir != "" {
		r.Flows.Dir = beside(r.path, r.Flows.Dir)
	}
	r.Corpora = corporaBeside(r.path, r.Corpora)
	r.Include = nil // done: the effective configuration stands alone
}

// include adds one file's providers, models and tenants.
func (r *reading) include(at place, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		r.problems = append(r.problems, r.unreadable(at, err))
		return
	}
	r.includeText(file, text)
}

// includeText adds what an included file says.
func (r *reading) includeText(file string, text []byte) {
	var p part
	d := r.decoder(file)
	d.included = true
	d.decode(text, &p)
	unite(r, d, "providers", &r.Providers, p.Providers)
	unite(r, d, "models", &r.Models, p.Models)
	unite(r, d, "tenants", &r.Tenants, p.Tenants)
	r.add(d)
	r.later = append(r.later, func() (keptFile, error) { return d.keep(r.relative(file), "include") })
}

// unite adds a file's names to a section. A name that stands there already keeps its first meaning and is a problem.
func unite[T any](r *reading, d *decoder, section string, into *map[string]T, from map[string]T) {
	if *into == nil && from != nil {
		*into = map[string]T{}
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		path := section + "." + name
		if first, twice := r.places[path]; twice {
			again := problem{place: d.places[path], path: path, text: "stands at " + first.String() + " already (a name may stand only once)"}
			d.problems = append(d.problems, again)
			continue
		}
		(*into)[name] = from[name]
	}
}

// add takes over what a file's decoder noted.
func (r *reading) add(d *decoder) {
	r.problems = append(r.problems, d.problems...)
	r.hidden = append(r.hidden, d.hidden...)
	for path, at := range d.places {
		if _, known := r.places[path]; !known {
			r.places[path] = at
		}
	}
}

func (r *reading) unreadable(at place, err error) problem {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("cannot read %s: %w", failed.Path, failed.Err)
	}
	return problem{place: at, text: masker(r.hidden).Replace(err.Error())}
}

// match finds the files that an include pattern of the main file names, in order.
func match(main, pattern string) ([]string, error) {
	wild := strings.ContainsAny(pattern, `*?[`)
	switch {
	case strings.TrimSpace(pattern) == "":
		return nil, errors.New("empty")
	case strings.Contains(pattern, "**"):
		return nil, fmt.Errorf("%s: ** is not supported (name each level: policies/*/*.yml)", pattern)
	case !wild:
		file := beside(main, pattern)
		if sameFile(file, main) {
			return nil, fmt.Errorf("%s: a file cannot include itself", pattern)
		}
		return []string{file}, nil
	}
	found, err := filepath.Glob(beside(escapeGlob(main), pattern))
	if err != nil {
		return nil, fmt.Errorf("%s: not a file pattern", pattern)
	}
	return slices.DeleteFunc(found, func(file string) bool {
		// Editors' and Kubernetes' own files begin with a dot; a pattern that also matches the main file does not mean it.
		state, err := os.Stat(file)
		return strings.HasPrefix(filepath.Base(file), ".") || err == nil && state.IsDir() || sameFile(file, main)
	}), nil
}

// beside is file as seen from the main file's folder.
func beside(main, file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(filepath.Dir(main), file)
}

// escapeGlob makes a path a pattern of itself.
func escapeGlob(path string) string {
	if os.PathSeparator != '/' {
		return path // there the backslash separates folders, and patterns know no escape
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func sameFile(a, b string) bool {
	one, errOne := os.Stat(a)
	two, errTwo := os.Stat(b)
	return errOne == nil && errTwo == nil && os.SameFile(one, two)
}
