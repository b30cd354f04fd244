package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// StoredKey is a key of the state store.
type StoredKey struct {
	ID      string
	Tenant  string // of the store or of the configuration
	Name    string
	Team    string
	Role    string // "": developer
	Digest  [sha256.Size]byte
	Created time.Time
	Expires time.Time // zero: never
	Revoked time.Time // zero: it is not; a moment to come ends the overlap of a key that was rotated
	Limits  Limits
	Hint    string // its last characters, to tell keys apart
}

// until is when the key stops working, zero for never.
func (k *StoredKey) until() time.Time {
	if k.Expires.IsZero() || !k.Revoked.IsZero() && k.Revoked.Before(k.Expires) {
		return k.Revoked
	}
	return k.Expires
}

const minKey = 16 // shorter keys can be guessed

// stored is a configured key in the form of a stored one.
func (k Key) stored(tenant string) (StoredKey, error) {
	s := StoredKey{Tenant: tenant, Name: k.Name, Team: k.Team, Role: k.Role, Limits: k.Limits}
	if err := checkKeyName(k.Name); err != nil {
		return s, fmt.Errorf("name: %w", err)
	}
	var err error
	if s.Digest, err = k.digest(); err != nil {
		return s, err
	}
	s.Expires, err = expiry(k.Expires)
	return s, err
}

func (k Key) digest() (d [sha256.Size]byte, err error) {
	switch {
	case (k.Key == "") == (k.Hash == ""):
		return d, errors.New("key: exactly one of key and hash must be set")
	case k.Key != "" && len(k.Key) < minKey:
		return d, fmt.Errorf("key: must have at least %d characters", minKey)
	case k.Key != "" && strings.ContainsFunc(k.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return d, errors.New("key: may hold visible ASCII characters only, as it travels in a header")
	case k.Key != "":
		return sha256.Sum256([]byte(k.Key)), nil
	}
	digest, ok := strings.CutPrefix(k.Hash, "sha256:")
	b, err := hex.DecodeString(digest)
	if !ok || err != nil || len(b) != sha256.Size {
		return d, errors.New("hash: expected sha256: and 64 hex digits")
	}
	return [sha256.Size]byte(b), nil
}

func expiry(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("expires: %q is neither a date (2027-01-01) nor an RFC 3339 time", s)
}

const maxName = 64 // bytes

// checkName tells what keeps a name of a tenant, team, key or role out of paths, logs and counters' names.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("must be set")
	case len(name) > maxName:
		return fmt.Errorf("a name has at most %d bytes", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the name %q holds what cannot be printed", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("the name %q holds a slash", name)
	case name == "." || name == "..":
		return fmt.Errorf("%q means something else in paths; choose another name", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q begins or ends with a space", name)
	case keyLike.MatchString(name):
		return errors.New("looks like a key, which nobody should find in a log")
	}
	return nil
}

var keyLike = regexp.MustCompile(`jv-[0-9A-Za-z]{38}`)

// shown is a name as a path shows it, whatever is in it.
func shown(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// tokenPrefix begins what logs call a token, so no key's name may.
const tokenPrefix = "jwt:"

func checkKeyName(name string) error {
	if strings.HasPrefix(name, tokenPrefix) {
		return fmt.Errorf("the name %q begins like that of a token", name)
	}
	return checkName(name)
}
