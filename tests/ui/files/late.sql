-- flights that came late
SELECT carrier, délai AS "délai", nme
FROM df
WHERE delay > 15
