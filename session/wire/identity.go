package wire

// Audience is the audience of a host's tokens.
const Audience = "rexgate"

// EnrollRequest is the body of a POST to PathEnroll, with the enrolment token
// as the bearer token.
type EnrollRequest struct {
	Host      string `json:"host"`
	PublicKey []byte `json:"public_key"` // 32 bytes of Ed25519, base64
	// Proof is the signature of "rexgate enroll\n" + Host + "\n" + the enrolment token,
	// by the key: it shows that the agent holds it.
	Proof []byte `json:"proof"`
}

// EnrollProof gives the bytes that a Proof signs.
func EnrollProof(host, token string) []byte {
	return []byte("rexgate enroll\n" + host + "\n" + token)
}

// EnrollAnswer is the answer to an EnrollRequest.
type EnrollAnswer struct {
	Host        string            `json:"host"`
	Incarnation int64             `json:"incarnation"`
	Labels      map[string]string `json:"labels,omitempty"`
	Time        int64             `json:"time"` // gateway's clock, Unix milliseconds
}

// EnrollClaims are the claims of an enrolment token that an agent reads before it
// has anyone to trust; the gateway checks the signature.
type EnrollClaims struct {
	Kind string `json:"kind"` // "enroll"
	// URL of the gateway.
	URL string `json:"url"`
	// CASHA256 pins the gateway's CA certificate: lower-case hex of its DER; empty = the system's CAs.
	CASHA256 string `json:"ca_sha256,omitempty"`
}
