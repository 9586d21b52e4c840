// Package auth makes and checks the tokens of the service. All are JWTs signed
// with Ed25519 (EdDSA, pinned), of four kinds that never stand in for each
// other:
//
//   - operator: signed by the gateway's own key ([Signer]); carries scopes.
//   - browser: signed by the same key in exchange for an operator's token or a
//     once-only code ([Codes]); good in a cookie only, where the others aren't.
//   - enroll: signed by the same key; lets a new host register its key.
//   - host: signed by the host with the key it enrolled ([Hosts]); the gateway
//     knows only the public half and can't make one.
//
// A token's "kind" claim says what it is; a host's token may leave it out, and
// is then known by its issuer being its subject. Presenting the wrong kind is
// refused by name, before the signature is looked at.
//
// Host tokens carry no incarnation: the key that verifies one is the key of one
// enrolment, and the store's record of the host says which. A host enrolled
// anew thus shuts its old key out at once on the gateway that enrolled it, and
// within the cache's time on the others; the store refuses the old incarnation
// there already.
package auth
