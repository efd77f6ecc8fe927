package wire

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"arca/internal/api"
)

// Router finds the operation a request asks for. The client names it in the request
// itself; the scope of its credentials has no say, and must later be found to name
// the service the router chose. A Router is immutable.
type Router struct {
	targets map[string]*api.Operation // by the value of X-Amz-Target
}

// NewRouter returns a router over all operations of the services. Two services that
// claim one target, and protocols without a codec here, are refused.
func NewRouter(services ...*api.Service) (*Router, error) {
	r := &Router{targets: map[string]*api.Operation{}}
	for _, s := range services {
		if s.Protocol != api.JSON11 {
			return nil, fmt.Errorf("service %s: no codec for its protocol", s.Name)
		}
		for _, op := range s.Operations {
			target := s.TargetPrefix + "." + op.Name
			if r.targets[target] != nil {
				return nil, fmt.Errorf("two operations have the target %s", target)
			}
			r.targets[target] = op
		}
	}
	return r, nil
}

// Route returns the operation that the request names. AWS services are told apart
// by host name; here they share one URL, so a request that could be meant for two of
// them (a target together with an Action or with a path) is refused instead of
// letting one selector win: a signature made for one operation must never run another.
//
// body is needed because form-encoded requests name their action in it. Errors are
// for RenderError with frontEnd set.
func (r *Router) Route(req *http.Request, body []byte) (*api.Operation, *api.Error) {
	targets := req.Header.Values(HeaderTarget)
	mediaType := mediaTypeOf(req.Header)
	if len(targets) > 0 && (len(targets) > 1 || namesAction(req.URL, mediaType, body)) {
		return nil, api.UnknownOperationException.Errorf("")
	}
	if req.Method != http.MethodPost || req.URL.Path != "/" && req.URL.Path != "" || mediaType != ContentTypeJSON11 {
		return nil, wrongContentType.Errorf("")
	}
	if len(targets) == 0 {
		return nil, api.UnknownOperationException.Errorf("")
	}
	op := r.targets[targets[0]]
	if op == nil {
		return nil, api.UnknownOperationException.Errorf("")
	}
	return op, nil
}

// mediaTypeOf returns the one content type of a request in lower case and without
// parameters, or "" when there is none, several, or an unreadable one.
func mediaTypeOf(h http.Header) string {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return ""
	}
	// The common case needs no parser.
	if values[0] == ContentTypeJSON11 {
		return ContentTypeJSON11
	}
	t, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return t
}

// namesAction reports whether the request has an Action parameter, as requests of
// the Query protocol do, in its URL or in a form. A part that cannot be parsed counts
// as far as it was understood.
func namesAction(u *url.URL, mediaType string, body []byte) bool {
	if u.RawQuery != "" && u.Query().Has("Action") {
		return true
	}
	if mediaType != "application/x-www-form-urlencoded" {
		return false
	}
	form, _ := url.ParseQuery(string(body))
	return form.Has("Action")
}
