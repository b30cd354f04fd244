package dialect

import "jarvis-gateway/proxy/wire"

type messagesWriter struct{}

func newMessagesWriter(t *Translation) *messagesWriter { panic("BUG: not written") }

func (w *messagesWriter) Event(dst []byte, e *Event) []byte { panic("BUG: not written") }

func (w *messagesWriter) End(dst []byte) []byte { panic("BUG: not written") }

func (w *messagesWriter) Fail(dst []byte, e *wire.Error) []byte { panic("BUG: not written") }

func (w *messagesWriter) Whole(dst []byte, a *Answer) []byte { panic("BUG: not written") }
