package dialect

import "jarvis-gateway/proxy/wire"

type chatWriter struct{}

func newChatWriter(t *Translation) *chatWriter { panic("BUG: not written") }

func (w *chatWriter) Event(dst []byte, e *Event) []byte { panic("BUG: not written") }

func (w *chatWriter) End(dst []byte) []byte { panic("BUG: not written") }

func (w *chatWriter) Fail(dst []byte, e *wire.Error) []byte { panic("BUG: not written") }

func (w *chatWriter) Whole(dst []byte, a *Answer) []byte { panic("BUG: not written") }
