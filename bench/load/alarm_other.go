//go:build !linux

package load

import "time"

type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }
func (*alarm) wait(t time.Time) { time.Sleep(time.Until(t)) }
func (*alarm) close() error     { return nil }
