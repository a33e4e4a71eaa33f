/*
 * token - the published test key and the one token signed with it (PROTOCOL.md 9.1), for fuzzing: whatever else is
 * accepted is a forgery, because nobody has the private key.
 */
#ifndef TEST_FUZZ_TOKEN_H
#define TEST_FUZZ_TOKEN_H

#define TOKEN_KEY_N                                                                                    \
    "m3ZFR7WUHIFMHhDKqSZr5Imzkktg7ttD41j7T31MS_31UfPhpI94ySnvGU9vqYLoJMCGvdrg0DiCfwlakb-AYmI_U7H9A0pY" \
    "b_GmXqCr0wCmWh7YzmPRNsNpXP2XVEIV-0puquxrDN-G4itPGG2jOWLnUMyAtp6eZNicQZPCWjgxGKvMPwDrCGIL4D4vf3CX" \
    "ENuy8DWnY9BuZtPVjBbWS0pM8KJCkreX0-5pKuzCHA1yWhF8PlDPnjrkYQWS0OiICZoCBeozRegSmD9NJy9EOkpIQyq-U1Go" \
    "ttkhyyEpUOR_txTNyJCCw9LmvKhZVPpRQR241X6vYo3LJgBCBQcsiw"
#define TOKEN                                                                                          \
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2ds" \
    "ZS5jb20iLCJhdWQiOiJodHRwczovL3cuZXhhbXBsZS9wIiwiYXpwIjoiMSIsInN1YiI6IjEiLCJlbWFpbCI6InB1c2hAZGVt" \
    "by5pYW0uZ3NlcnZpY2VhY2NvdW50LmNvbSIsImVtYWlsX3ZlcmlmaWVkIjp0cnVlLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6" \
    "MTcwMDAwMzYwMH0.ldI7XPsy96Rk7L4zOkQ5CyFqVEU_8t3BL25NoitDFgL6t-mCiz2nJj1lVT_S-DSxz-2krsjUqRMWldjK" \
    "ecteHqT61FCtuzdWOeRMUSabOaKJ0n1cDWoZdieRp5q1TV2ug9dMFhac2bHH2JnLXRoaGMp-_6zkuq_l7uUzNL6yckvaAb4N" \
    "eqZW94rPLosOfJUKb90URqvEiZdecWZQe7iNIFdX8PDVYwOS2e5euKiPsYINx62sgU6ziDzu2F79f7WpTyO6tHZgnl8uUSZH" \
    "aTWW3tLfiBkJ5LNFmV8IWZQVihHpqymZEivYwt8nrSEQNF8Te6eyS_wi7bgbibSoAnSOhg"

#endif
