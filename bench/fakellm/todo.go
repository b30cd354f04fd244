package fakellm

import "github.com/valyala/fasthttp"

type store struct{}

func (*store) reset() {}

func unsupported(x *exchange) (render, *apiError) { return nil, x.noSuchURL() }

var readModeration, readImage, readImageForm, readSpeech, readAudioForm, readRerank = unsupported, unsupported, unsupported, unsupported, unsupported, unsupported

func (x *exchange) findResponse(id string) (endpoint, *apiError) { return nil, x.noSuchURL() }
func (x *exchange) brokenResponse(e *apiError) [][]byte          { return nil }
func (s *Server) picturePage(ctx *fasthttp.RequestCtx, path string) bool {
	ctx.SetStatusCode(404)
	return true
}
