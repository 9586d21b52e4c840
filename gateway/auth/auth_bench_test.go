package auth

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// BenchmarkVerifyHost checks a host's token: signed is the first time that it is seen,
// known every time after.
func BenchmarkVerifyHost(b *testing.B) {
	hosts, _, key := fleet(b)
	b.Run("signed", func(b *testing.B) {
		// Two tokens in turn: only the last of a host is remembered.
		tokens := [2]string{hostToken(b, key, "web-1"), ""}
		claims := hostClaims("web-1")
		claims["jti"] = "another"
		tokens[1] = sign(b, key, jwt.SigningMethodEdDSA, claims)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := hosts.Verify(b.Context(), tokens[i%2]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		token := hostToken(b, key, "web-1")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := hosts.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
