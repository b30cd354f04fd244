package prompt

import (
	"errors"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// longestRange bounds what a client may write.
const longestRange = 128

// family is all versions of a template.
type family struct {
	name     string
	versions []*Template // the highest first
	exact    map[string]*Template
	release  *release // of requests that name no version; nil: the latest
}

func (f *family) add(t *Template) {
	at, _ := slices.BinarySearchFunc(f.versions, t, func(a, b *Template) int { return b.version.Compare(a.version) })
	f.versions = slices.Insert(f.versions, at, t)
	f.exact[t.Version] = t
}

func (f *family) highest(fits *semver.Constraints) *Template {
	for _, t := range f.versions {
		if fits.Check(t.version) {
			return t
		}
	}
	return nil
}

func (f *family) list() []string {
	list := make([]string, len(f.versions))
	for i, t := range f.versions {
		list[i] = t.Version
	}
	return list
}

// parseRange reads a range of versions. Its errors hold nothing but the range.
func parseRange(text string) (*semver.Constraints, error) {
	if text == "" || text == "latest" {
		text = "*"
	}
	if len(text) > longestRange {
		return nil, fmt.Errorf("longer than %d bytes", longestRange)
	}
	fits, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no version and no range of them, such as 1.2.0, ^1.2, ~1.2.3, 1.x, >=1.0 <2.0 or latest", shown(text))
	}
	return fits, nil
}

// parseVersion reads the version in a file's name. Build metadata has no precedence: two files could be the same version.
func parseVersion(text string) (*semver.Version, error) {
	v, err := semver.StrictNewVersion(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no version: expected three numbers such as 1.2.0, or 1.2.0-rc.1", text)
	}
	if v.Metadata() != "" {
		return nil, errors.New("versions have no build metadata (+" + v.Metadata() + ") here")
	}
	return v, nil
}
