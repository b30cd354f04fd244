package fakellm

import (
	"os"
	"path/filepath"
	"testing"
)

// sharedData is the folder of recorded data: $JARVIS_SHARED/data, or shared/data beside a folder above this one.
func sharedData(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("JARVIS_SHARED"); dir != "" {
		return filepath.Join(dir, "data")
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		data := filepath.Join(dir, "shared", "data")
		if info, err := os.Stat(data); err == nil && info.IsDir() {
			return data
		}
	}
	t.Skip("no recorded data: set JARVIS_SHARED to the folder that holds data/")
	return ""
}
