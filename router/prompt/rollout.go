package prompt

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidwall/gjson"
)

// Who asks, for rollouts.
type Who struct {
	Tenant, Scene string
	User          string // the end user, "" if unknown
	Request       string // the request's id
}

// Pin is a template that a model has.
type Pin struct {
	name    string
	release *release
}

// release is a version, and the one that it is being replaced by.
type release struct {
	said           Release
	stable, canary arm // canary is empty without a rollout
}

// arm is one version, ready for use.
type arm struct {
	*Template
	given [][]byte  // by variable: what stands there unless the client says otherwise; nil: it must
	other *Template // the version on the other side of the rollout, whose variables a client may give too
}

// choose decides for one of the two versions. A share that grows keeps those that it had.
func (r *release) choose(w Who) arm {
	to := &r.said.Rollout
	if r.canary.Template == nil || !among(to.Tenants, w.Tenant) || !among(to.Scenes, w.Scene) {
		return r.stable
	}
	seed := w.Request
	switch {
	case to.Sticky == "tenant":
		seed = w.Tenant
	case to.Sticky != "request" && w.User != "":
		seed = w.Tenant + "\x00" + w.User
	}
	if share(r.stable.Name+"\x00"+to.To, seed) < to.Percent {
		return r.canary
	}
	return r.stable
}

func among(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// share spreads seeds evenly over [0, 100): always the same for the same seed, and for each salt anew.
func share(salt, seed string) float64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range [...]string{salt, "\x00", seed} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	for range 2 { // its high bits hardly depend on the last bytes
		h = (h ^ h>>33) * 0xff51afd7ed558ccd
	}
	return float64(h>>11) / (1 << 53) * 100
}

// compile readies a release; path is where it stands in the configuration.
func compile(path string, f *family, said Release, values Values) (*release, error) {
	var errs []error
	one := func(field, versions string) (a arm) {
		fits, err := parseRange(versions)
		if err == nil {
			if a.Template = f.highest(fits); a.Template == nil {
				err = fmt.Errorf("%s has no version that fits %q (%s)", f.name, versions, choices(f.list()))
			} else {
				a.given = slices.Clone(a.defaults)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", path, field, err))
		}
		return a
	}
	r := &release{said: said, stable: one("version", said.Version)}
	if to := said.Rollout; !to.isZero() {
		errs = append(errs, to.check(path+".rollout"))
		if to.To != "" {
			r.canary = one("rollout.to", to.To)
		}
	}
	r.stable.other, r.canary.other = r.canary.Template, r.stable.Template
	errs = append(errs, r.give(path, values))
	return r, errors.Join(errs...)
}

func (r Rollout) check(path string) error {
	var errs []error
	if r.To == "" {
		errs = append(errs, fmt.Errorf("%s.to: must be set", path))
	}
	if !(r.Percent >= 0 && r.Percent <= 100) {
		errs = append(errs, fmt.Errorf("%s.percent: expected a number from 0 to 100", path))
	}
	if stickies := []string{"user", "tenant", "request"}; r.Sticky != "" && !slices.Contains(stickies, r.Sticky) {
		errs = append(errs, fmt.Errorf("%s.sticky: unknown choice %q (choices: user, tenant, request)", path, r.Sticky))
	}
	return errors.Join(errs...)
}

// give sets the values that the configuration has for variables. Each must be of one of the two versions.
func (r *release) give(path string, values Values) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		raw, err := encode(values[name])
		known := r.stable.Template == nil // what is not there has been told
		for _, a := range []*arm{&r.stable, &r.canary} {
			if a.Template == nil || err != nil {
				continue
			}
			if i, ok := a.index[name]; ok {
				known = true
				a.given[i], err = a.variables[i].text(gjson.ParseBytes(raw))
			}
		}
		if err == nil && !known {
			err = fmt.Errorf("%s has no such variable (%s)", r.stable.Name, choices(r.stable.names()))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.variables.%s: %w", path, name, err))
		}
	}
	return errors.Join(errs...)
}
