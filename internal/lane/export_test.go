package lane

import "net/http"

// Recognise gives the verdict on b and, for a plain header, its size and the request
// made of it. b is left as it is.
func Recognise(b []byte) (v string, size int, r *http.Request) {
	var h head
	switch h.recognise(b) {
	case more:
		return "more", 0, nil
	case other:
		return "other", 0, nil
	}
	rec := &received{header: http.Header{}}
	rec.fill(&h, append([]byte(nil), b...))
	return "plain", h.size, &rec.request
}
