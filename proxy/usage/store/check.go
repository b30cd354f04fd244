package store

import (
	"errors"
	"strings"
)

// Check tells what is wrong with the URL of a database, without opening it. The error says nothing of what may be a password.
func Check(url string) error {
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		if path == "" {
			return errors.New("no file after sqlite:")
		}
		return nil
	}
	_, err := parseHouse(url)
	return err
}
