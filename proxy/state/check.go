package state

import (
	"context"
	"errors"
	"strings"
)

// Check tells what is wrong with the url of Open, and opens nothing. The error holds no password.
func Check(url string) error {
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		if path == "" {
			return errors.New("no file after sqlite:")
		}
		return nil
	}
	e, err := openEngine(context.Background(), url)
	if err != nil {
		return err
	}
	return e.close()
}
