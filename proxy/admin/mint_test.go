package admin_test

import (
	"regexp"
	"testing"

	"jarvis-gateway/proxy/admin"
)

func TestNewKey(t *testing.T) {
	pattern := regexp.MustCompile(`^jv-[0-9A-Za-z]{38}$`)
	seen := map[string]bool{}
	for range 1000 {
		key := admin.NewKey().Reveal()
		if !pattern.MatchString(key) || !admin.WellFormed(key) || seen[key] {
			t.Fatalf("key %d: malformed or twice", len(seen))
		}
		seen[key] = true
		for i := range key {
			b := []byte(key)
			if b[i]++; admin.WellFormed(string(b)) {
				t.Fatalf("a slip at letter %d is not noticed", i)
			}
		}
	}
}

// The checksum is a promise to those who scan for leaked keys.
func TestKnownKeys(t *testing.T) {
	for key, want := range map[string]bool{
		"jv-0123456789ABCDEFGHIJKLMNOPQRSTUV27DCnI":  true,
		"jv-0123456789ABCDEFGHIJKLMNOPQRSTUV27DCnJ":  false,
		"jv-0123456789ABCDEFGHIJKLMNOPQRSTUV27DCn":   false,
		"jv-0123456789ABCDEFGHIJKLMNOPQRSTUV27DCnI0": false,
		"sk-0123456789ABCDEFGHIJKLMNOPQRSTUV27DCnI":  false,
		"": false,
	} {
		if got := admin.WellFormed(key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}
