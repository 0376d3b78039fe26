package main

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	rsaAlgorithm  = "GOOG4-RSA-SHA256"
	hmacAlgorithm = "GOOG4-HMAC-SHA256"
)

// identity is the one service account: its key, and the HMAC key that belongs to it.
type identity struct {
	account            string
	key                *rsa.PublicKey
	hmacID, hmacSecret string
}

// signed says whether the holder of this id signed the text by this algorithm.
func (i *identity) signed(algorithm, id, scope, text string, signature []byte) bool {
	switch {
	case algorithm == rsaAlgorithm && id == i.account:
		return signedBy(i.key, text, signature)
	case algorithm == hmacAlgorithm && i.hmacID != "" && id == i.hmacID:
		key := []byte("GOOG4" + i.hmacSecret)
		for _, part := range append(strings.Split(scope, "/"), text) {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(part))
			key = mac.Sum(nil)
		}
		return hmac.Equal(key, signature)
	}
	return false
}

// verify checks a V4 signature: https://cloud.google.com/storage/docs/authentication/signatures
func verify(r *http.Request, who *identity, now time.Time) *refusal {
	query := r.URL.Query()
	algorithm := query.Get("X-Goog-Algorithm")
	id, scope, _ := strings.Cut(query.Get("X-Goog-Credential"), "/")
	day, _, _ := strings.Cut(query.Get("X-Goog-Date"), "T")
	signature, err := hex.DecodeString(query.Get("X-Goog-Signature"))
	if err != nil || scope != day+"/auto/storage/goog4_request" {
		return &refusal{http.StatusForbidden, "AccessDenied", "Bad signature or credential scope."}
	}
	text := stringToSign(r, query, algorithm, scope)
	if !who.signed(algorithm, id, scope, text, signature) {
		return &refusal{http.StatusForbidden, "SignatureDoesNotMatch", "The signature is not the request's."}
	}
	// Only now can the dates be believed.
	date, err := time.Parse("20060102T150405Z", query.Get("X-Goog-Date"))
	seconds, err2 := strconv.Atoi(query.Get("X-Goog-Expires"))
	if err != nil || err2 != nil || seconds > 7*24*3600 {
		return &refusal{http.StatusBadRequest, "AuthorizationQueryParametersError", "Bad date or expiry."}
	}
	if now.After(date.Add(time.Duration(seconds) * time.Second)) {
		return &refusal{http.StatusBadRequest, "ExpiredToken", "The provided token has expired."}
	}
	return nil
}

func stringToSign(r *http.Request, query url.Values, algorithm, scope string) string {
	names := strings.Split(query.Get("X-Goog-SignedHeaders"), ";")
	var headers strings.Builder
	for _, name := range names {
		fmt.Fprintf(&headers, "%s:%s\n", name, headerValue(r, name))
	}
	canonical := strings.Join([]string{
		r.Method,
		r.URL.EscapedPath(),
		canonicalQuery(query),
		headers.String(),
		strings.Join(names, ";"),
		"UNSIGNED-PAYLOAD",
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	return strings.Join(
		[]string{algorithm, query.Get("X-Goog-Date"), scope, hex.EncodeToString(digest[:])}, "\n")
}

func headerValue(r *http.Request, name string) string {
	switch name { // Go keeps these two beside the other headers
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	return strings.Join(r.Header.Values(name), ",")
}

func canonicalQuery(query url.Values) string {
	var parts []string
	for name, values := range query {
		if name == "X-Goog-Signature" {
			continue
		}
		for _, value := range values {
			parts = append(parts, escape(name)+"="+escape(value))
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, "&")
}

func escape(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

func signedBy(key *rsa.PublicKey, text string, signature []byte) bool {
	digest := sha256.Sum256([]byte(text))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
}

// grant answers OAuth's exchange of a signed assertion for an access token (RFC 7523).
func (s *server) grant(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := checkAssertion(r.PostFormValue("assertion"), s.who.account, s.who.key, time.Now()); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{
			"error": "invalid_grant", "error_description": err.Error(),
		})
		return
	}
	json.NewEncoder(w).Encode(map[string]any{
		"access_token": s.accessToken, "expires_in": 3600, "token_type": "Bearer",
	})
}

func checkAssertion(assertion, account string, key *rsa.PublicKey, now time.Time) error {
	text, encoded, _ := cutLast(assertion, ".")
	_, payload, _ := strings.Cut(text, ".")
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !signedBy(key, text, signature) {
		return fmt.Errorf("Invalid JWT Signature.")
	}
	content, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return err
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Expires int64  `json:"exp"`
	}
	if err := json.Unmarshal(content, &claims); err != nil {
		return err
	}
	if claims.Issuer != account || now.Unix() > claims.Expires {
		return fmt.Errorf("Invalid grant: account not found or assertion expired.")
	}
	return nil
}

func cutLast(text, separator string) (string, string, bool) {
	index := strings.LastIndex(text, separator)
	if index < 0 {
		return text, "", false
	}
	return text[:index], text[index+len(separator):], true
}
