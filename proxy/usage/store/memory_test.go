package store

import (
	"fmt"
	"sync"
	"testing"
)

// What is in memory is written while it is read.
func TestMemoryIsShared(t *testing.T) {
	s := opened(t, "sqlite::memory:", Options{})
	const batches, size = 20, 20
	var group sync.WaitGroup
	for reader := range 3 {
		group.Go(func() {
			for n := int64(0); n < batches*size; {
				a, err := s.Ask(t.Context(), Question{Since: noon.AddDate(0, 0, -1), Until: noon.AddDate(0, 0, 1), By: []string{"tenant"}})
				if err != nil {
					t.Error(reader, err)
					return
				}
				if n = a.Total.Requests; n%size != 0 {
					t.Errorf("%d requests: a batch in pieces", n)
				}
			}
		})
	}
	for batch := range batches {
		write(t, s, fmt.Sprint(batch), records(batch*size, size, noon))
	}
	group.Wait()
}
