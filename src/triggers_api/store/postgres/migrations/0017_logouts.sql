-- Sessions of the operator page that were ended before their time; a row goes when the session would have.

CREATE TABLE logouts (
    session    text   NOT NULL PRIMARY KEY,
    expires_at bigint NOT NULL
);
