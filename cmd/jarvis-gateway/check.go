package main

import (
	"fmt"
	"io"
)

// check reads the configuration of path as serve would and prints what it comes to.
func check(path string, stdout, stderr io.Writer) error {
	l, err := newSource(path).load()
	if err != nil {
		return err
	}
	for _, note := range l.Notes {
		fmt.Fprintln(stderr, note)
	}
	return l.print(stdout)
}
